//! The progress of long requests: lines that change in place on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal, Write};

use teu_api::stream::{JsonMessage, ProgressDetail};

use super::units::long_size;
use crate::client::JsonLines;
use crate::failure::{Failure, Naming};
use crate::terminal;

/// Where progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Standard output, as `pull` does.
    Stdout,
    /// Standard error, as a pull for `run` does.
    Stderr,
    /// Nowhere; only errors count.
    Nowhere,
}

/// What is left of a stream once it was shown.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// Results for programs, in order.
    pub(crate) results: Vec<serde_json::Value>,
    /// Text that was shown nowhere.
    pub(crate) unseen: String,
}

/// Shows messages until the stream ends. An error in the stream is the failure; what was not seen then is shown.
pub(crate) async fn show(lines: JsonLines<JsonMessage>, place: Place) -> Result<Shown, Failure> {
    show_all_but(lines, place, async |_| Ok(false)).await
}

/// The same, but for the results that `take` says it has taken.
pub(crate) async fn show_all_but(
    mut lines: JsonLines<JsonMessage>,
    place: Place,
    mut take: impl AsyncFnMut(&serde_json::Value) -> Result<bool, Failure>,
) -> Result<Shown, Failure> {
    let mut display = Display::new(place);
    let mut shown = Shown::default();
    while let Some(message) = lines.next().await? {
        if let Some(failure) = failure(&message) {
            crate::output::aside(&shown.unseen);
            return Err(failure);
        }
        match &message.aux {
            Some(aux) if take(aux).await? => continue,
            aux => shown.results.extend(aux.clone()),
        }
        match &message.stream {
            Some(text) if place == Place::Nowhere => shown.unseen.push_str(text),
            _ => display.show(&message).or_fail("write progress")?,
        }
    }
    Ok(shown)
}

/// The error that ends a stream; a build step's exit code is ours too.
fn failure(message: &JsonMessage) -> Option<Failure> {
    let text = match (&message.error_detail, &message.error) {
        (Some(detail), _) if !detail.message.is_empty() => detail.message.clone(),
        (_, Some(error)) => error.clone(),
        _ => return None,
    };
    let code = message.error_detail.as_ref().and_then(|detail| detail.code).and_then(|code| u8::try_from(code).ok());
    Some(Failure::new(text).code(code.filter(|code| *code != 0).unwrap_or(1)))
}

/// Lines that change in place.
struct Display {
    place: Place,
    /// On a terminal lines are redrawn.
    live: bool,
    width: usize,
    /// Ids in the order of their lines, the last at the bottom.
    lines: Vec<String>,
}

impl Display {
    fn new(place: Place) -> Self {
        let live = match place {
            Place::Stdout => io::stdout().is_terminal(),
            Place::Stderr => io::stderr().is_terminal(),
            Place::Nowhere => false,
        };
        let width = terminal::size().map_or(80, |(_, columns)| usize::from(columns));
        Self { place, live, width, lines: Vec::new() }
    }

    fn write(&self, text: &str) -> io::Result<()> {
        match self.place {
            Place::Nowhere => Ok(()),
            Place::Stderr => io::stderr().lock().write_all(text.as_bytes()),
            Place::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(text.as_bytes())?;
                out.flush()
            }
        }
    }

    fn show(&mut self, message: &JsonMessage) -> io::Result<()> {
        if let Some(stream) = &message.stream {
            self.lines.clear();
            return self.write(stream);
        }
        let Some(status) = &message.status else { return Ok(()) };
        let bar = message.progress_detail.as_ref().and_then(|detail| bar(detail, self.width));
        let Some(id) = message.id.as_deref().filter(|id| !id.is_empty()) else {
            self.lines.clear();
            return self.write(&format!("{status}\n"));
        };
        let text = format!("{id}: {status}");
        if !self.live {
            // Elsewhere than on a terminal every step of a bar would be a line.
            return if bar.is_some() { Ok(()) } else { self.write(&format!("{text}\n")) };
        }
        let text: String = match bar {
            Some(bar) => format!("{text} {bar}"),
            None => text,
        };
        let text: String = text.chars().take(self.width).collect();
        let up = match self.lines.iter().position(|known| known == id) {
            Some(at) => self.lines.len() - at,
            None => {
                self.write("\n")?;
                self.lines.push(id.to_owned());
                1
            }
        };
        self.write(&format!("\x1b[{up}A\r\x1b[2K{text}\r\x1b[{up}B"))
    }
}

/// `[=====>     ]  1.2MB/3MB`, or only the count when the total is unknown.
fn bar(detail: &ProgressDetail, width: usize) -> Option<String> {
    let current = detail.current.filter(|current| *current > 0)?;
    let Some(total) = detail.total.filter(|total| *total > 0) else { return Some(long_size(current)) };
    let size = format!("{:>8}/{}", long_size(current.min(total)), long_size(total));
    if width < 60 {
        return Some(size);
    }
    let steps = 50.min(width.saturating_sub(50)).max(10);
    let done = ((current.min(total) as f64 / total as f64) * steps as f64) as usize;
    let arrow = if done < steps { ">" } else { "" };
    Some(format!("[{}{arrow}{}]  {size}", "=".repeat(done), " ".repeat(steps - done - arrow.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_grow_and_fit() {
        let detail = |current, total| ProgressDetail { current: Some(current), total, units: None };
        assert_eq!(bar(&detail(5, Some(10)), 70).unwrap(), "[==========>         ]        5B/10B");
        assert_eq!(bar(&detail(10, Some(10)), 70).unwrap(), "[====================]       10B/10B");
        assert_eq!(bar(&detail(5000, None), 70).unwrap(), "5kB");
        assert_eq!(bar(&detail(0, Some(10)), 70), None);
    }

    #[test]
    fn an_error_in_the_stream_is_the_failure() {
        let message = JsonMessage::failure(Some(2), "RUN false: exit code 2");
        let failed = failure(&message).unwrap();
        assert_eq!((failed.message.as_str(), failed.code), ("RUN false: exit code 2", 2));
        assert_eq!(failure(&JsonMessage::failure(None, "no")).unwrap().code, 1);
        assert_eq!(failure(&JsonMessage::output("fine")), None);
    }
}
