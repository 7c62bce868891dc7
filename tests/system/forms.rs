//! Filling in the server's HTML forms as a person does: by what is on the page.

use reqwest::Method;
use scraper::{ElementRef, Html, Selector};
use url::Url;

use crate::browser::Answer;

/// A form of a page, with the entries as they stand.
#[derive(Debug, Clone)]
pub struct Form {
    action: Url,
    method: Method,
    fields: Vec<Field>,
    buttons: Vec<Button>,
}

/// A form ready to be sent.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Where to.
    pub action: Url,
    /// How.
    pub method: Method,
    /// The pairs of name and value.
    pub fields: Vec<(String, String)>,
}

#[derive(Debug, Clone)]
struct Field {
    name: String,
    kind: Kind,
    value: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Hidden,
    /// Takes any text.
    Text,
    /// Takes something of a shape: a date, a number, a password …
    Shaped,
    /// A checkbox: whether it is ticked.
    Tick(bool),
    /// One radio button of several with the same name: whether it is the chosen one.
    Radio(bool),
    /// A list, with the values that can be chosen.
    List(Vec<String>),
}

#[derive(Debug, Clone)]
struct Button {
    name: Option<String>,
    value: String,
    label: String,
}

impl Form {
    /// All forms of a page.
    #[track_caller]
    pub fn all(page: &Answer) -> Vec<Self> {
        assert!(page.is_page(), "no page: {page}");
        let html = Html::parse_document(&page.text());
        html.select(&select("form"))
            .map(|form| Self::read(form, &page.url))
            .collect()
    }

    /// The form that lets one choose this value: in a list, by radio buttons or by a button each.
    #[track_caller]
    pub fn offering(page: &Answer, value: &str) -> Self {
        let mut forms = Self::all(page).into_iter();
        let found = forms.find(|form| form.offers(value));
        found.unwrap_or_else(|| panic!("no form offers {value}: {page}"))
    }

    /// The form with a button that says or means one of these words.
    #[track_caller]
    pub fn with_button(page: &Answer, words: &[&str]) -> Self {
        let mut forms = Self::all(page).into_iter();
        let found = forms.find(|form| form.button(words).is_some());
        found.unwrap_or_else(|| panic!("no form has a button {words:?}: {page}"))
    }

    /// The form with a field whose name has this part.
    #[track_caller]
    pub fn asking(page: &Answer, part: &str) -> Self {
        let mut forms = Self::all(page).into_iter();
        let found = forms.find(|form| form.fields.iter().any(|field| field.name.contains(part)));
        found.unwrap_or_else(|| panic!("no form asks for {part}: {page}"))
    }

    /// The values that can be chosen in lists and by radio buttons.
    pub fn choices(&self) -> Vec<String> {
        let mut choices = Vec::new();
        for field in &self.fields {
            match &field.kind {
                Kind::List(options) => choices.extend(options.iter().cloned()),
                Kind::Radio(_) => choices.push(field.value.clone()),
                _ => {}
            }
        }
        choices.extend(self.buttons.iter().map(|button| button.value.clone()));
        choices
    }

    /// The names of the boxes that are ticked.
    pub fn ticked(&self) -> Vec<String> {
        (self.fields.iter())
            .filter(|field| field.kind == Kind::Tick(true))
            .map(|field| field.name.clone())
            .collect()
    }

    /// Whether this value can be chosen.
    pub fn offers(&self, value: &str) -> bool {
        self.choices().iter().any(|choice| choice == value)
    }

    /// Chooses a value in the list, or the radio button, that has it.
    #[track_caller]
    pub fn choose(mut self, value: &str) -> Self {
        assert!(self.offers(value), "{value} cannot be chosen in {self:?}");
        let mut group = None;
        for field in &mut self.fields {
            match &mut field.kind {
                Kind::List(options) if options.iter().any(|option| option == value) => {
                    value.clone_into(&mut field.value);
                }
                Kind::Radio(chosen) if field.value == value => {
                    *chosen = true;
                    group = Some(field.name.clone());
                }
                _ => {}
            }
        }
        for field in &mut self.fields {
            if let Kind::Radio(chosen) = &mut field.kind
                && group.as_ref() == Some(&field.name)
            {
                *chosen = field.value == value;
            }
        }
        self
    }

    /// Writes into the field of this name.
    #[track_caller]
    pub fn fill(mut self, name: &str, value: &str) -> Self {
        let mut fields = self.fields.iter_mut();
        let field = fields.find(|field| field.name == name);
        let field = field.unwrap_or_else(|| panic!("no field {name}"));
        value.clone_into(&mut field.value);
        self
    }

    /// Ticks every box, and writes a word into every field that takes free text and is no date.
    pub fn say_yes_to_everything(mut self) -> Self {
        for field in &mut self.fields {
            match &mut field.kind {
                Kind::Tick(ticked) => *ticked = true,
                Kind::Text if !(says(&field.name, "from") || says(&field.name, "to")) => {
                    "yes, all of it".clone_into(&mut field.value);
                }
                _ => {}
            }
        }
        self
    }

    /// Leaves out the fields whose name has this part, such as a CSRF token's.
    #[track_caller]
    pub fn without(mut self, part: &str) -> Self {
        let before = self.fields.len();
        self.fields
            .retain(|field| !field.name.to_lowercase().contains(part));
        assert!(
            self.fields.len() < before,
            "no field is named like {part}: {self:?}"
        );
        self
    }

    /// Overwrites the hidden fields whose name has this part.
    #[track_caller]
    pub fn forge(mut self, part: &str, value: &str) -> Self {
        let mut forged = false;
        for field in &mut self.fields {
            if field.kind == Kind::Hidden && field.name.to_lowercase().contains(part) {
                value.clone_into(&mut field.value);
                forged = true;
            }
        }
        assert!(forged, "no hidden field is named like {part}: {self:?}");
        self
    }

    /// The form as the button that says or means one of these words sends it.
    #[track_caller]
    pub fn press(self, words: &[&str]) -> Submission {
        let button = self.button(words).cloned();
        let button = button.unwrap_or_else(|| panic!("no button {words:?} in {self:?}"));
        self.send_by(Some(button))
    }

    /// The form as its first button sends it, or the one with this value where there is one.
    pub fn enter(self, value: &str) -> Submission {
        let same = self.buttons.iter().find(|button| button.value == value);
        let button = same.or(self.buttons.first()).cloned();
        self.send_by(button)
    }

    fn button(&self, words: &[&str]) -> Option<&Button> {
        self.buttons.iter().find(|button| {
            let texts = [
                Some(&button.label),
                Some(&button.value),
                button.name.as_ref(),
            ];
            let texts = texts.into_iter().flatten().map(|text| text.to_lowercase());
            texts
                .into_iter()
                .any(|text| words.iter().any(|word| says(&text, word)))
        })
    }

    fn send_by(self, button: Option<Button>) -> Submission {
        let mut fields: Vec<_> = self.fields.into_iter().filter_map(Field::pair).collect();
        if let Some(Button {
            name: Some(name),
            value,
            ..
        }) = button
        {
            fields.push((name, value));
        }
        Submission {
            action: self.action,
            method: self.method,
            fields,
        }
    }

    fn read(form: ElementRef<'_>, page: &Url) -> Self {
        let element = form.value();
        let action = page
            .join(element.attr("action").unwrap_or_default())
            .unwrap();
        let post = element
            .attr("method")
            .is_some_and(|method| method.eq_ignore_ascii_case("post"));
        let method = if post { Method::POST } else { Method::GET };
        let mut read = Self {
            action,
            method,
            fields: Vec::new(),
            buttons: Vec::new(),
        };
        for control in form.select(&select("input, select, textarea, button")) {
            if control.value().attr("disabled").is_none() {
                read.add(control);
            }
        }
        read
    }

    fn add(&mut self, control: ElementRef<'_>) {
        let element = control.value();
        let attribute = |name| element.attr(name).map(str::to_owned);
        let on = || "on".to_owned();
        let value = attribute("value").unwrap_or_default();
        if element.name() == "button" {
            if matches!(element.attr("type"), None | Some("submit")) {
                self.buttons.push(Button {
                    name: attribute("name"),
                    value,
                    label: text(control),
                });
            }
            return;
        }
        if element.name() == "input" && matches!(element.attr("type"), Some("submit" | "image")) {
            self.buttons.push(Button {
                name: attribute("name"),
                label: value.clone(),
                value,
            });
            return;
        }
        let Some(name) = attribute("name") else {
            return;
        };
        let checked = element.attr("checked").is_some();
        let (kind, value) = match (element.name(), element.attr("type").unwrap_or("text")) {
            ("select", _) => list(control),
            ("textarea", _) => (Kind::Text, text(control)),
            (_, "hidden") => (Kind::Hidden, value),
            (_, "text" | "search") => (Kind::Text, value),
            (_, "checkbox") => (Kind::Tick(checked), attribute("value").unwrap_or_else(on)),
            (_, "radio") => (Kind::Radio(checked), attribute("value").unwrap_or_else(on)),
            (_, "button" | "reset" | "file") => return,
            _ => (Kind::Shaped, value),
        };
        self.fields.push(Field { name, kind, value });
    }
}

impl Field {
    /// What is sent of the field, if anything.
    fn pair(self) -> Option<(String, String)> {
        match self.kind {
            Kind::Tick(false) | Kind::Radio(false) => None,
            Kind::List(options) if options.is_empty() => None,
            _ => Some((self.name, self.value)),
        }
    }
}

/// The values of a list, and the selected one or else the first.
fn list(control: ElementRef<'_>) -> (Kind, String) {
    let mut values = Vec::new();
    let mut selected = None;
    for option in control.select(&select("option")) {
        let value = option
            .value()
            .attr("value")
            .map_or_else(|| text(option), str::to_owned);
        if option.value().attr("selected").is_some() {
            selected = Some(value.clone());
        }
        values.push(value);
    }
    let value = selected.or(values.first().cloned()).unwrap_or_default();
    (Kind::List(values), value)
}

/// Whether one of the text's words is this one: "allow" is not in "disallow".
fn says(text: &str, word: &str) -> bool {
    text.split(|character: char| !character.is_alphanumeric())
        .any(|each| each == word)
}

fn text(element: ElementRef<'_>) -> String {
    element.text().collect::<String>().trim().to_owned()
}

fn select(selector: &str) -> Selector {
    Selector::parse(selector).unwrap()
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderMap;

    use super::*;

    fn page(html: &str) -> Answer {
        let headers = [("content-type", "text/html")];
        let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        Answer {
            url: Url::parse("http://127.0.0.1:1/a/page?x=1").unwrap(),
            status: 200,
            headers: HeaderMap::from_iter(headers),
            body: html.into(),
        }
    }

    #[test]
    fn a_form_is_sent_as_a_browser_would() {
        let page = page(
            r#"<form method="post" action="go">
            <input type=hidden name=csrf value=abc> <input type=checkbox name=a checked>
            <input type=checkbox name=b value=2> <input name=gone disabled value=1>
            <select name=who><option value=ann>Ann<option value=bob>Bob</select>
            <input type=radio name=r value=1 checked> <input type=radio name=r value=2>
            <textarea name=note> hi </textarea>
            <button name=say value=no>Disallow</button> <button name=say value=yes>Allow it</button>
            </form>"#,
        );
        let form = Form::offering(&page, "bob").choose("bob").choose("2");
        let sent = form.press(&["allow"]);
        assert_eq!(sent.action.as_str(), "http://127.0.0.1:1/a/go");
        assert_eq!(sent.method, Method::POST);
        let pairs: Vec<_> = sent
            .fields
            .iter()
            .map(|(n, v)| format!("{n}={v}"))
            .collect();
        assert_eq!(
            pairs,
            ["csrf=abc", "a=on", "who=bob", "r=2", "note=hi", "say=yes"]
        );
    }

    #[test]
    fn a_form_without_an_action_goes_to_its_own_page() {
        let page = page("<form><input name=q type=date><input type=submit value=Go></form>");
        let sent = Form::asking(&page, "q").enter("");
        assert_eq!(sent.action.as_str(), "http://127.0.0.1:1/a/page?x=1");
        assert_eq!(sent.fields, [("q".to_owned(), String::new())]);
    }
}
