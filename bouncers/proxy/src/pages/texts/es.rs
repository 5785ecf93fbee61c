//! Spanish texts.

use super::{PageText, PageTexts, Texts};

pub(super) const TEXTS: Texts = Texts {
    pages: PageTexts {
        ban: PageText {
            title: "Acceso denegado",
            message: "Las solicitudes desde su dirección de red están bloqueadas porque se detectó actividad sospechosa procedente de ella.",
        },
        captcha: PageText {
            title: "Un momento, por favor",
            message: "Se detectó actividad sospechosa desde su dirección de red. Esta comprobación demuestra que usted no es un programa automático; después continuará a la página solicitada.",
        },
        captcha_required: PageText {
            title: "Se necesita una comprobación",
            message: "Se detectó actividad sospechosa desde su dirección de red. Abra este sitio en un navegador, complete allí la comprobación y vuelva a intentarlo.",
        },
        captcha_failed: PageText {
            title: "Comprobación no disponible",
            message: "Primero hay que comprobar su acceso, pero el servicio necesario no está disponible en este momento. Vuelva a intentarlo en unos minutos.",
        },
        throttle: PageText {
            title: "Demasiadas solicitudes",
            message: "Desde su dirección de red llegaron más solicitudes de las permitidas. Espere un momento y vuelva a intentarlo.",
        },
        unavailable: PageText {
            title: "No disponible temporalmente",
            message: "Este sitio no puede comprobar las solicitudes en este momento, por lo que no acepta ninguna. Vuelva a intentarlo en unos minutos.",
        },
        maintenance: PageText {
            title: "Volvemos enseguida",
            message: "Este sitio no está disponible en este momento, por ejemplo por mantenimiento. Vuelva a intentarlo en unos minutos.",
        },
        not_found: PageText {
            title: "Página no encontrada",
            message: "No hay nada en esta dirección. Compruebe que esté bien escrita.",
        },
        bad_gateway: PageText {
            title: "Algo ha fallado",
            message: "El servidor de este sitio no dio una respuesta válida. Vuelva a intentarlo en un momento.",
        },
        gateway_timeout: PageText {
            title: "La espera ha sido demasiado larga",
            message: "El servidor de este sitio no respondió a tiempo. Vuelva a intentarlo en un momento.",
        },
        refused: PageText {
            title: "Solicitud rechazada",
            message: "Esta solicitud no se aceptó por su forma o su tamaño.",
        },
    },
    details: "Detalles",
    address: "Su dirección",
    request: "ID de solicitud",
    time: "Fecha y hora",
    until: "Bloqueado hasta",
    wait: "Reintentar en",
    seconds: "segundos",
    contact: "Contacto",
    contact_hint: "Si cree que se trata de un error, póngase en contacto con el responsable de este sitio e indique el ID de solicitud.",
    work_start: "Preparando la comprobación…",
    work_running: "Su navegador está resolviendo una pequeña tarea. Normalmente solo tarda unos segundos.",
    work_done: "Listo. Se le está redirigiendo…",
    work_privacy: "La tarea se ejecuta únicamente en su navegador. No interviene ningún tercero.",
    service_hint: "Complete la tarea siguiente.",
    send: "Continuar",
    no_script: "Esta comprobación necesita JavaScript. Actívelo para este sitio y vuelva a cargar la página.",
    no_cookies: "Esta comprobación necesita cookies. Permítalas para este sitio y vuelva a cargar la página.",
    post_lost: "Lo que acaba de enviar no se ha aceptado. Vuelva a enviarlo después de la comprobación.",
    try_again: "No era correcto o tardó demasiado. Vuelva a intentarlo.",
};
