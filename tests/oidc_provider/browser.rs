//! A browser with cookies that follows redirects and submits forms.

use std::collections::BTreeMap;

use reqwest::{
    Client, Method, Response, Url,
    header::{CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE},
    redirect::Policy,
};

pub(crate) struct Browser {
    http: Client,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    pub(crate) fn new() -> Self {
        Self {
            http: Client::builder().redirect(Policy::none()).build().unwrap(),
            cookies: BTreeMap::new(),
        }
    }

    /// Opens a URL, and goes on until it is redirected to one that starts with `callback`. Returns
    /// that one.
    pub(crate) async fn walk(&mut self, url: &str, callback: &str) -> String {
        match self.open(url, Some(callback)).await {
            End::Redirected(url) => url,
            End::Page(page) => panic!("no redirect to the callback: {page}"),
        }
    }

    /// Opens a URL, and submits each form until a page has none.
    pub(crate) async fn submit_all(&mut self, url: &str) -> String {
        match self.open(url, None).await {
            End::Page(page) => page,
            End::Redirected(url) => panic!("redirected to {url}"),
        }
    }

    async fn open(&mut self, url: &str, callback: Option<&str>) -> End {
        let mut url = Url::parse(url).unwrap();
        let mut form: Option<Vec<(String, String)>> = None;
        for _ in 0..20 {
            let response = self.send(&url, form.take()).await;
            if let Some(location) = response.headers().get(LOCATION) {
                url = url.join(location.to_str().unwrap()).unwrap();
                if callback.is_some_and(|callback| url.as_str().starts_with(callback)) {
                    return End::Redirected(url.into());
                }
                continue;
            }
            let page = response.text().await.unwrap();
            match fields(&page) {
                Some((action, fields)) => {
                    url = url.join(&action).unwrap();
                    form = Some(fields);
                }
                None => return End::Page(page),
            }
        }
        panic!("too many redirects and forms, the last one to {url}");
    }

    async fn send(&mut self, url: &Url, form: Option<Vec<(String, String)>>) -> Response {
        let method = if form.is_some() {
            Method::POST
        } else {
            Method::GET
        };
        let cookies: Vec<_> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mut request = self.http.request(method, url.clone());
        request = request.header(COOKIE, cookies.join("; "));
        if let Some(form) = form {
            let body = form_urlencoded::Serializer::new(String::new())
                .extend_pairs(form)
                .finish();
            request = request
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(body);
        }
        let response = request.send().await.unwrap();
        for cookie in response.headers().get_all(SET_COOKIE) {
            let cookie = cookie.to_str().unwrap();
            let (pair, _) = cookie.split_once(';').unwrap_or((cookie, ""));
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        response
    }
}

enum End {
    Redirected(String),
    Page(String),
}

/// The action and the hidden fields of the first form of a page. `None` if it has none.
fn fields(page: &str) -> Option<(String, Vec<(String, String)>)> {
    let form = page.split_once("<form")?.1;
    let (tag, rest) = form.split_once('>')?;
    let inside = rest.split_once("</form>")?.0;
    let fields = inside.split("<input").skip(1).filter_map(|input| {
        let name = attribute(input, "name")?;
        Some((name, attribute(input, "value").unwrap_or_default()))
    });
    Some((
        attribute(tag, "action").unwrap_or_default(),
        fields.collect(),
    ))
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let value = tag.split_once(&format!("{name}=\""))?.1;
    Some(value.split_once('"')?.0.replace("&amp;", "&"))
}
