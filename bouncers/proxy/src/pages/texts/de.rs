//! German texts.

use super::{PageText, PageTexts, Texts};

pub(super) const TEXTS: Texts = Texts {
    pages: PageTexts {
        ban: PageText {
            title: "Zugriff gesperrt",
            message: "Anfragen von Ihrer Netzwerkadresse werden abgelehnt, weil von dort verdächtige Aktivitäten ausgegangen sind.",
        },
        captcha: PageText {
            title: "Einen Moment, bitte",
            message: "Von Ihrer Netzwerkadresse sind verdächtige Aktivitäten ausgegangen. Diese Prüfung zeigt, dass Sie kein automatisches Programm sind; danach geht es zur gewünschten Seite weiter.",
        },
        captcha_required: PageText {
            title: "Prüfung erforderlich",
            message: "Von Ihrer Netzwerkadresse sind verdächtige Aktivitäten ausgegangen. Öffnen Sie diese Website in einem Browser und schließen Sie dort die Prüfung ab; versuchen Sie es danach noch einmal.",
        },
        captcha_failed: PageText {
            title: "Prüfung nicht verfügbar",
            message: "Ihr Zugriff muss zuerst geprüft werden, doch der Dienst dafür ist zurzeit nicht erreichbar. Bitte versuchen Sie es in einigen Minuten noch einmal.",
        },
        throttle: PageText {
            title: "Zu viele Anfragen",
            message: "Von Ihrer Netzwerkadresse kamen mehr Anfragen als erlaubt. Bitte warten Sie einen Moment und versuchen Sie es dann noch einmal.",
        },
        unavailable: PageText {
            title: "Vorübergehend nicht verfügbar",
            message: "Diese Website kann Anfragen zurzeit nicht prüfen und nimmt deshalb keine an. Bitte versuchen Sie es in einigen Minuten noch einmal.",
        },
        maintenance: PageText {
            title: "Gleich wieder da",
            message: "Diese Website ist zurzeit nicht verfügbar, zum Beispiel wegen Wartungsarbeiten. Bitte versuchen Sie es in einigen Minuten noch einmal.",
        },
        not_found: PageText {
            title: "Seite nicht gefunden",
            message: "Unter dieser Adresse gibt es nichts. Bitte prüfen Sie die Schreibweise.",
        },
        bad_gateway: PageText {
            title: "Etwas ist schiefgegangen",
            message: "Der Server hinter dieser Website hat keine brauchbare Antwort gegeben. Bitte versuchen Sie es gleich noch einmal.",
        },
        gateway_timeout: PageText {
            title: "Das hat zu lange gedauert",
            message: "Der Server hinter dieser Website hat nicht rechtzeitig geantwortet. Bitte versuchen Sie es gleich noch einmal.",
        },
        refused: PageText {
            title: "Anfrage abgelehnt",
            message: "Diese Anfrage wurde wegen ihrer Form oder Größe nicht angenommen.",
        },
    },
    details: "Einzelheiten",
    address: "Ihre Adresse",
    request: "Anfrage-ID",
    time: "Zeitpunkt",
    until: "Gesperrt bis",
    wait: "Neuer Versuch in",
    seconds: "Sekunden",
    contact: "Kontakt",
    contact_hint: "Wenn Sie das für einen Irrtum halten, wenden Sie sich an den Betreiber dieser Website und nennen Sie die Anfrage-ID.",
    work_start: "Die Prüfung wird vorbereitet …",
    work_running: "Ihr Browser löst eine kleine Aufgabe. Das dauert meist nur wenige Sekunden.",
    work_done: "Fertig. Sie werden weitergeleitet …",
    work_privacy: "Die Aufgabe läuft nur in Ihrem Browser. Es sind keine Dritten beteiligt.",
    service_hint: "Bitte lösen Sie die folgende Aufgabe.",
    send: "Weiter",
    no_script: "Diese Prüfung benötigt JavaScript. Bitte aktivieren Sie es für diese Website und laden Sie die Seite neu.",
    no_cookies: "Diese Prüfung benötigt Cookies. Bitte erlauben Sie sie für diese Website und laden Sie die Seite neu.",
    post_lost: "Ihre eben gesendeten Daten wurden nicht angenommen. Bitte senden Sie sie nach der Prüfung noch einmal.",
    try_again: "Das war nicht richtig oder hat zu lange gedauert. Bitte versuchen Sie es noch einmal.",
};
