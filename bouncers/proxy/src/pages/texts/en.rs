//! English texts.

use super::{PageText, PageTexts, Texts};

pub(super) const TEXTS: Texts = Texts {
    pages: PageTexts {
        ban: PageText {
            title: "Access denied",
            message: "Requests from your network address are blocked, because suspicious activity was seen from it.",
        },
        captcha: PageText {
            title: "One moment, please",
            message: "Suspicious activity was seen from your network address. This check shows that you are not an automated program; afterwards you continue to the page you asked for.",
        },
        captcha_required: PageText {
            title: "A check is needed",
            message: "Suspicious activity was seen from your network address. Open this site in a browser and complete the check there; then try again.",
        },
        captcha_failed: PageText {
            title: "The check is not available",
            message: "Your access must be checked first, but the service for it cannot be reached at the moment. Please try again in a few minutes.",
        },
        throttle: PageText {
            title: "Too many requests",
            message: "More requests came from your network address than are allowed. Please wait a moment, then try again.",
        },
        unavailable: PageText {
            title: "Temporarily unavailable",
            message: "This site cannot check requests at the moment, so it does not accept any. Please try again in a few minutes.",
        },
        maintenance: PageText {
            title: "Back soon",
            message: "This site is not available at the moment, for example because of maintenance. Please try again in a few minutes.",
        },
        not_found: PageText {
            title: "Page not found",
            message: "There is nothing at this address. Please check how it is spelled.",
        },
        bad_gateway: PageText {
            title: "Something went wrong",
            message: "The server behind this site gave no usable answer. Please try again in a moment.",
        },
        gateway_timeout: PageText {
            title: "That took too long",
            message: "The server behind this site did not answer in time. Please try again in a moment.",
        },
        refused: PageText {
            title: "Request refused",
            message: "This request was not accepted, because of its form or its size.",
        },
    },
    details: "Details",
    address: "Your address",
    request: "Request ID",
    time: "Time",
    until: "Blocked until",
    wait: "Try again in",
    seconds: "seconds",
    contact: "Contact",
    contact_hint: "If you think this is a mistake, contact the operator of this site and quote the request ID.",
    work_start: "Preparing the check …",
    work_running: "Your browser is working on a small task. This usually takes a few seconds.",
    work_done: "Done. You are being forwarded …",
    work_privacy: "The task runs in your browser only. No third party is involved.",
    service_hint: "Please complete the task below.",
    send: "Continue",
    no_script: "This check needs JavaScript. Please enable it for this site and reload the page.",
    no_cookies: "This check needs cookies. Please allow them for this site and reload the page.",
    post_lost: "What you have just sent was not accepted. Please send it again after the check.",
    try_again: "That was not correct, or took too long. Please try again.",
};
