//! Japanese texts.

use super::{PageText, PageTexts, Texts};

pub(super) const TEXTS: Texts = Texts {
    pages: PageTexts {
        ban: PageText {
            title: "アクセスが拒否されました",
            message: "お使いのネットワークアドレスから不審なアクセスが検出されたため、リクエストをブロックしています。",
        },
        captcha: PageText {
            title: "しばらくお待ちください",
            message: "お使いのネットワークアドレスから不審なアクセスが検出されました。自動プログラムでないことを確認した後、目的のページに移動します。",
        },
        captcha_required: PageText {
            title: "確認が必要です",
            message: "お使いのネットワークアドレスから不審なアクセスが検出されました。ブラウザーでこのサイトを開いて確認を完了してから、もう一度お試しください。",
        },
        captcha_failed: PageText {
            title: "確認を行えません",
            message: "アクセスの確認が必要ですが、確認用のサービスに現在接続できません。数分後にもう一度お試しください。",
        },
        throttle: PageText {
            title: "リクエストが多すぎます",
            message: "お使いのネットワークアドレスからのリクエストが上限を超えました。しばらく待ってから、もう一度お試しください。",
        },
        unavailable: PageText {
            title: "一時的にご利用いただけません",
            message: "現在リクエストを確認できないため、受け付けを停止しています。数分後にもう一度お試しください。",
        },
        maintenance: PageText {
            title: "ただいまご利用いただけません",
            message: "メンテナンスなどの理由により、このサイトは現在ご利用いただけません。数分後にもう一度お試しください。",
        },
        not_found: PageText {
            title: "ページが見つかりません",
            message: "このアドレスにはページがありません。アドレスが正しいかご確認ください。",
        },
        bad_gateway: PageText {
            title: "エラーが発生しました",
            message: "サーバーから正しい応答が得られませんでした。しばらくしてからもう一度お試しください。",
        },
        gateway_timeout: PageText {
            title: "タイムアウトしました",
            message: "サーバーから時間内に応答がありませんでした。しばらくしてからもう一度お試しください。",
        },
        refused: PageText {
            title: "リクエストを受け付けられません",
            message: "形式またはサイズの問題により、このリクエストは受け付けられませんでした。",
        },
    },
    details: "詳細",
    address: "お使いのアドレス",
    request: "リクエスト ID",
    time: "日時",
    until: "ブロックの期限",
    wait: "再試行までの時間",
    seconds: "秒",
    contact: "お問い合わせ先",
    contact_hint: "誤ってブロックされたと思われる場合は、リクエスト ID を添えてサイトの運営者にお問い合わせください。",
    work_start: "確認の準備をしています…",
    work_running: "ブラウザーで簡単な計算を行っています。通常は数秒で完了します。",
    work_done: "完了しました。ページに移動します…",
    work_privacy: "計算はお使いのブラウザー内だけで行われ、第三者は関与しません。",
    service_hint: "以下の確認を行ってください。",
    send: "続ける",
    no_script: "この確認には JavaScript が必要です。このサイトで有効にしてから、ページを再読み込みしてください。",
    no_cookies: "この確認には Cookie が必要です。このサイトで許可してから、ページを再読み込みしてください。",
    post_lost: "送信された内容は受け付けられませんでした。確認の後にもう一度送信してください。",
    try_again: "正しくないか、時間がかかりすぎました。もう一度お試しください。",
};
