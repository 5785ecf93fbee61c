//! A captcha service of the form that hCaptcha, reCAPTCHA and Turnstile share: a widget that needs a click, and a page
//! that verifies.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::host::Host;
use crate::outcome::{Doing, Outcome};
use crate::world::World;

/// The response that a click on the right button gives.
const RIGHT: &str = "right & good";

/// A running service. It ends with the program.
pub struct CaptchaService {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    forms: Mutex<Vec<String>>,
    is_broken: AtomicBool,
}

impl World {
    /// Starts a service on `host`, for its visitors too.
    ///
    /// # Errors
    /// When no port is free.
    pub fn captcha_service(&self, host: &Host) -> Outcome<CaptchaService> {
        let listener =
            host.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))).doing("binding the service")?;
        let address = SocketAddr::new(host.v4(), listener.local_addr()?.port());
        let shared = Arc::new(Shared::default());
        let here = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&here);
                // A client that goes away is none of our concern.
                std::thread::spawn(move || serve(stream, &shared).ok());
            }
        });
        Ok(CaptchaService { address, shared })
    }
}

impl CaptchaService {
    /// The script of a widget with this class and form field.
    pub fn script_url(&self, class: &str, field: &str) -> String {
        format!("http://{}/widget/{class}/{field}", self.address)
    }

    /// Where responses are verified.
    pub fn verify_url(&self) -> String {
        format!("http://{}/siteverify", self.address)
    }

    /// The forms it was asked to verify.
    pub fn forms(&self) -> Vec<String> {
        self.shared.forms.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers with an error from now on, or no longer.
    pub fn set_broken(&self, is_broken: bool) {
        self.shared.is_broken.store(is_broken, Ordering::Relaxed);
    }
}

fn serve(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") {
        let from = head.len();
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
        if let Some(value) = head[from..].to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let path = head.split(' ').nth(1).unwrap_or_default();
    let (status, content_type, text) =
        match path.strip_prefix("/widget/").and_then(|rest| rest.split_once('/')) {
            Some((class, field)) => (200, "text/javascript", widget(class, field)),
            None if shared.is_broken.load(Ordering::Relaxed) => (500, "application/json", "{}".to_owned()),
            None => {
                let form = String::from_utf8_lossy(&body).into_owned();
                let success = form.contains("response=right%20%26%20good");
                shared.forms.lock().unwrap_or_else(PoisonError::into_inner).push(form);
                (200, "application/json; charset=utf-8", format!("{{\"success\": {success}}}"))
            }
        };
    let length = text.len();
    write!(
        writer,
        "HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
    )
}

/// A widget with a right and a wrong button, which behaves as the services' do: it fills a form field inside its element,
/// then calls the function that the element names.
fn widget(class: &str, field: &str) -> String {
    format!(
        "for (const widget of document.getElementsByClassName('{class}')) {{
           const field = document.createElement('textarea');
           field.name = '{field}'; field.hidden = true; widget.append(field);
           for (const [id, value] of [['right', '{RIGHT}'], ['wrong', 'wrong']]) {{
             const button = document.createElement('button');
             button.type = 'button'; button.id = id; button.textContent = id + ' for ' + widget.dataset.sitekey;
             button.onclick = () => {{ field.value = value; window[widget.dataset.callback](value); }};
             widget.append(button);
           }}
         }}"
    )
}
