//! French texts.

use super::{PageText, PageTexts, Texts};

pub(super) const TEXTS: Texts = Texts {
    pages: PageTexts {
        ban: PageText {
            title: "Accès refusé",
            message: "Les requêtes provenant de votre adresse réseau sont bloquées, car une activité suspecte y a été détectée.",
        },
        captcha: PageText {
            title: "Un instant, s’il vous plaît",
            message: "Une activité suspecte a été détectée depuis votre adresse réseau. Cette vérification montre que vous n’êtes pas un programme automatique ; vous accéderez ensuite à la page demandée.",
        },
        captcha_required: PageText {
            title: "Vérification nécessaire",
            message: "Une activité suspecte a été détectée depuis votre adresse réseau. Ouvrez ce site dans un navigateur et effectuez-y la vérification, puis réessayez.",
        },
        captcha_failed: PageText {
            title: "Vérification indisponible",
            message: "Votre accès doit d’abord être vérifié, mais le service nécessaire est injoignable pour le moment. Veuillez réessayer dans quelques minutes.",
        },
        throttle: PageText {
            title: "Trop de requêtes",
            message: "Votre adresse réseau a envoyé plus de requêtes que la limite autorisée. Veuillez patienter un instant, puis réessayer.",
        },
        unavailable: PageText {
            title: "Temporairement indisponible",
            message: "Ce site ne peut pas vérifier les requêtes pour le moment et n’en accepte donc aucune. Veuillez réessayer dans quelques minutes.",
        },
        maintenance: PageText {
            title: "De retour bientôt",
            message: "Ce site est indisponible pour le moment, par exemple pour cause de maintenance. Veuillez réessayer dans quelques minutes.",
        },
        not_found: PageText {
            title: "Page introuvable",
            message: "Il n’y a rien à cette adresse. Veuillez vérifier son orthographe.",
        },
        bad_gateway: PageText {
            title: "Une erreur s’est produite",
            message: "Le serveur de ce site n’a pas fourni de réponse exploitable. Veuillez réessayer dans un instant.",
        },
        gateway_timeout: PageText {
            title: "Délai d’attente dépassé",
            message: "Le serveur de ce site n’a pas répondu à temps. Veuillez réessayer dans un instant.",
        },
        refused: PageText {
            title: "Requête refusée",
            message: "Cette requête n’a pas été acceptée en raison de sa forme ou de sa taille.",
        },
    },
    details: "Détails",
    address: "Votre adresse",
    request: "ID de requête",
    time: "Date et heure",
    until: "Bloqué jusqu’au",
    wait: "Nouvel essai dans",
    seconds: "secondes",
    contact: "Contact",
    contact_hint: "Si vous pensez qu’il s’agit d’une erreur, contactez l’exploitant de ce site en indiquant l’ID de requête.",
    work_start: "Préparation de la vérification…",
    work_running: "Votre navigateur effectue un petit calcul. Cela ne prend en général que quelques secondes.",
    work_done: "Terminé. Vous allez être redirigé…",
    work_privacy: "Le calcul s’effectue uniquement dans votre navigateur, sans aucun tiers.",
    service_hint: "Veuillez effectuer la tâche ci-dessous.",
    send: "Continuer",
    no_script: "Cette vérification nécessite JavaScript. Veuillez l’activer pour ce site, puis recharger la page.",
    no_cookies: "Cette vérification nécessite les cookies. Veuillez les autoriser pour ce site, puis recharger la page.",
    post_lost: "Ce que vous venez d’envoyer n’a pas été accepté. Veuillez l’envoyer de nouveau après la vérification.",
    try_again: "La réponse était incorrecte ou a pris trop de temps. Veuillez réessayer.",
};
