-- Each request has the next of these addresses in X-Forwarded-For.
local clients = { @CLIENTS@ }
local requests = {}
local at = 0

function init(args)
    for n, client in ipairs(clients) do
        requests[n] = wrk.format(nil, nil, { ["X-Forwarded-For"] = client })
    end
end

function request()
    at = at % #requests + 1
    return requests[at]
end
