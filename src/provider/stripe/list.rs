//! Lists that come in pages. <https://docs.stripe.com/api/pagination>

use std::ops::ControlFlow;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::provider::{Answer, ReadAnswer};

use super::answer::{into_read, judge};
use super::client::Client;

/// However large pages are: beyond so many the provider's paging goes in circles.
pub(super) const PAGES_MAX: usize = 20;

/// Something that lists hold.
pub(super) trait Listed: DeserializeOwned {
    /// What the next page is asked for by.
    fn id(&self) -> &str;
}

/// A page of a list, or its beginning inside of another object.
#[derive(Deserialize)]
pub(super) struct Page<T> {
    pub(super) data: Vec<T>,
    #[serde(default)]
    has_more: bool,
}

impl<T: Listed> Page<T> {
    /// The id after which the list goes on; `None` at its end.
    pub(super) fn goes_on_after(&self) -> Result<Option<String>, String> {
        match self.data.last() {
            _ if !self.has_more => Ok(None),
            Some(last) => Ok(Some(last.id().to_owned())),
            None => Err("its list does not come to an end".to_owned()),
        }
    }
}

/// Reads a list from its beginning, or from behind an object of it. Each object is looked at, which says whether what
/// follows is of interest, or what is unexpected.
pub(super) async fn read<T: Listed>(
    client: &Client,
    path: &str,
    query: &[(&str, &str)],
    mut after: Option<String>,
    mut look: impl FnMut(T) -> Result<ControlFlow<()>, String>,
) -> ReadAnswer<()> {
    let mut pages_read = 0;
    loop {
        pages_read += 1;
        let mut query = query.to_vec();
        query.extend(after.as_deref().map(|after| ("starting_after", after)));
        let exchange = client.get_with(path, &query).await;
        let answer = judge(client, exchange, |list: Page<T>| {
            let goes_on_after = list.goes_on_after()?;
            for object in list.data {
                if look(object)?.is_break() {
                    return Ok(None);
                }
            }
            match goes_on_after {
                Some(_) if pages_read == PAGES_MAX => Err("its list does not come to an end".to_owned()),
                goes_on_after => Ok(goes_on_after),
            }
        });
        let Answer { value, date, request_id, status } = answer;
        match value {
            Ok(Some(last)) => after = Some(last),
            done => {
                let value = into_read(done.map(|_| ()));
                return Answer { value, date, request_id, status };
            }
        }
    }
}
