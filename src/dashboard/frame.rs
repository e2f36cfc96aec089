use super::desk::Trouble;
use crate::shown::html::escaped;

/// What every page begins and ends with. `more` goes into the head.
pub(super) fn frame(title: &str, more: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{}</title><link rel=\"icon\" href=\"data:,\"><link rel=\"stylesheet\" \
         href=\"/style.css\">{more}</head><body>\n{body}</body></html>\n",
        escaped(title)
    )
}

/// The form that asks for the token, and what was wrong with the last one.
pub(super) fn login(wrong: Option<&str>) -> String {
    let wrong = wrong.map_or_else(String::new, |what| format!("<p class=\"bad\" role=\"alert\">{what}</p>"));
    let body = format!(
        "<main><h1>Usage</h1><p>Whoever knows the token of this page may see it.</p>{wrong}\
         <form method=\"post\" action=\"/login\"><p><label for=\"token\">Token</label></p>\
         <p><input id=\"token\" name=\"token\" type=\"password\" autocomplete=\"current-password\" required> \
         <button class=\"main\">Log in</button></p></form></main>\n"
    );
    frame("Log in to the usage page", "", &body)
}

/// A page that says one thing.
pub(super) fn notice(title: &str, trouble: &Trouble) -> String {
    let body = format!(
        "<main><h1>{}</h1>{}<p><a href=\"/\">Back to the usage page</a></p></main>\n",
        escaped(title),
        words(trouble)
    );
    frame(title, "", &body)
}

/// What is wrong, and what to do.
pub(super) fn words(trouble: &Trouble) -> String {
    let hint = trouble.hint.as_ref().map_or_else(String::new, |hint| format!("<br>{}", escaped(hint)));
    format!("<p class=\"problem\">{}{hint}</p>", escaped(&trouble.what))
}

/// A page that goes on by itself, without a script. For one's own page it is what makes the way back a step within this
/// site: a cookie that is kept from other sites does not come along with a step from there.
pub(super) fn going_on(title: &str, to: &str, link: &str) -> String {
    let (title, to) = (escaped(title), escaped(to));
    let more = format!("<meta http-equiv=\"refresh\" content=\"0;url={to}\">");
    let body = format!("<main><h1>{title}</h1><p><a href=\"{to}\">{}</a></p></main>\n", escaped(link));
    frame(&title, &more, &body)
}
