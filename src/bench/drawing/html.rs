//! Graphs as one page that needs nothing else.

use super::Drawing;

/// The page: what is drawn as JSON, and the script that draws it.
pub fn html(drawing: &Drawing) -> String {
    // Inside of a script element only `</` could end it.
    let data = serde_json::json!(drawing).to_string().replace("</", "<\\/");
    let title = super::svg::escaped(&drawing.title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>\n{}</style>\n<body>\n{}<script type=\"application/json\" id=\"data\">{data}</script>\n<script>\n{}</script>\n</body>\n</html>\n",
        include_str!("page.css"),
        include_str!("page.html"),
        include_str!("page.js")
    )
}
