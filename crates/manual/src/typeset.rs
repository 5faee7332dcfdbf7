//! Sets the lists and examples of a help text as a man page's own, which clap_mangen runs together into paragraphs.

/// Passes a page through: indented lines with a gap become lists, other indented ones stay as they are, and a line
/// that ends stays ended.
pub(crate) fn typeset(page: &str) -> String {
    let mut setter = Setter::default();
    for line in page.lines() {
        setter.line(line);
    }
    setter.leave_block();
    setter.page
}

/// What the last line was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Last {
    /// A request of roff, a tag or an empty line: a paragraph begins.
    #[default]
    Start,
    /// `.TP`: the next line is a tag.
    Tag,
    /// A line of a paragraph.
    Text,
    /// An entry of a list.
    Entry,
    /// A line that is set as it is.
    Verbatim,
}

#[derive(Default)]
struct Setter {
    page: String,
    last: Last,
    /// Whether paragraphs belong to an option, and are indented under it.
    under_option: bool,
}

impl Setter {
    fn line(&mut self, line: &str) {
        match line {
            // The heading is clap_mangen's word for what stands behind the options; ours are examples.
            ".SH EXTRA" => self.request(".SH EXAMPLES"),
            "Examples:" if self.page.ends_with(".SH EXAMPLES\n") => {}
            "" => self.empty(),
            _ if self.last == Last::Tag => {
                self.put(line);
                self.last = Last::Start;
            }
            _ if line.starts_with(['.', '\'']) => self.request(line),
            _ if line.starts_with("  ") => self.indented(line),
            _ => self.text(line),
        }
    }

    fn put(&mut self, line: &str) {
        self.page.push_str(line);
        self.page.push('\n');
    }

    fn request(&mut self, line: &str) {
        self.leave_block();
        self.put(line);
        if line.starts_with(".SH") {
            self.under_option = false;
        }
        self.last = if line == ".TP" { Last::Tag } else { Last::Start };
        self.under_option |= self.last == Last::Tag;
    }

    fn indented(&mut self, line: &str) {
        let entry = line.trim_start();
        if let Some((tag, text)) = entry.split_once("  ") {
            if self.last != Last::Entry {
                self.leave_block();
                self.put(".RS");
            }
            self.put(".TP");
            self.put(tag);
            self.put(text.trim_start());
            self.last = Last::Entry;
        } else {
            if self.last != Last::Verbatim {
                self.leave_block();
                self.put(".nf");
            }
            self.put(line);
            self.last = Last::Verbatim;
        }
    }

    fn text(&mut self, line: &str) {
        match self.last {
            Last::Text => self.put(".br"),
            Last::Entry | Last::Verbatim => self.leave_block(),
            Last::Start | Last::Tag => {}
        }
        self.put(line);
        self.last = Last::Text;
    }

    /// An empty line ends a paragraph, and is one between two examples.
    fn empty(&mut self) {
        if self.last == Last::Entry {
            self.leave_block();
        } else {
            self.put("");
            if self.last != Last::Verbatim {
                self.last = Last::Start;
            }
        }
    }

    /// Ends a list or an example, and goes on at the indentation before.
    fn leave_block(&mut self) {
        match self.last {
            Last::Entry => {
                self.put(".RE");
                self.put(if self.under_option { ".IP" } else { ".PP" });
            }
            Last::Verbatim => self.put(".fi"),
            Last::Start | Last::Tag | Last::Text => return,
        }
        self.last = Last::Start;
    }
}
