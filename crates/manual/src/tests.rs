use clap::{Arg, Command};

use super::*;

fn command() -> Command {
    Command::new("kvtest")
        .version("1.2.3")
        .about("Tests what is generated")
        .arg(Arg::new("shelf").long("shelf").value_name("NUMBER").help("Shelf of the AoE device"))
}

fn answered(words: &[&str]) -> Option<Result<String, String>> {
    let words: Vec<OsString> = words.iter().map(OsString::from).collect();
    answer(&words, command)
}

fn generated(document: &str) -> String {
    answered(&["--generate", document]).expect("it is asked for").expect("it can be made")
}

#[test]
fn a_man_page_names_program_version_and_every_option() {
    let page = generated("man");
    assert!(page.contains(".TH kvtest 8"), "{page}");
    assert!(page.contains("Tests what is generated"), "{page}");
    assert!(page.contains(r"\fB\-\-shelf\fR"), "{page}");
    assert!(page.contains("1.2.3"), "{page}");
}

#[test]
fn completions_know_every_option() {
    for (shell, first_words) in
        [("bash", "_kvtest() {"), ("zsh", "#compdef kvtest"), ("fish", "complete -c kvtest")]
    {
        let script = generated(shell);
        assert!(script.starts_with(first_words), "{shell}: {script}");
        assert!(script.contains("shelf"), "{shell}: {script}");
    }
}

#[test]
fn other_command_lines_are_left_alone() {
    for words in [&[][..], &["--help"], &["--shelf", "--generate"], &["man"]] {
        assert_eq!(answered(words), None, "{words:?}");
    }
}

#[test]
fn a_document_that_there_is_not_is_refused_by_name() {
    for (words, given) in [
        (&["--generate"][..], "''"),
        (&["--generate", "html"], "'html'"),
        (&["--generate", "man", "bash"], "'man bash'"),
    ] {
        let sentence = answered(words).expect("it is asked for").expect_err("there is no such document");
        assert!(sentence.contains(given) && sentence.contains("man, bash, zsh and fish"), "{sentence}");
    }
}

#[test]
fn a_program_has_further_documents() {
    let extras = [Extra { name: "rpc", text: || "# RPC\n".to_owned() }];
    let answered = |name: &str| {
        let words = ["--generate".into(), OsString::from(name)];
        answer_with(&words, command, &extras).expect("it is asked for")
    };
    assert_eq!(answered("rpc"), Ok("# RPC\n".to_owned()));
    assert!(answered("man").is_ok_and(|page| page.contains(".TH kvtest")));
    let sentence = answered("schema").expect_err("there is no such document");
    assert_eq!(sentence, "--generate takes one of man, bash, zsh, rpc and fish, and got 'schema'");
}

#[test]
fn subcommands_have_pages_of_their_own() {
    let command = || {
        let save = Command::new("save").about("Saves it");
        let config = Command::new("config").about("Saves or loads").subcommand(save);
        command()
            .disable_help_subcommand(true)
            .subcommands([config, Command::new("top").about("Shows rates")])
    };
    let answered = |words: &[&str]| {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        answer(&words, command).expect("it is asked for")
    };
    assert_eq!(answered(&["--generate", "pages"]), Ok("config\nconfig-save\ntop\n".to_owned()));
    let page = answered(&["--generate", "man", "config-save"]).unwrap();
    assert!(page.contains(".TH kvtest-config-save 8") && page.contains("Saves it"), "{page}");
    let page = answered(&["--generate", "man"]).unwrap();
    assert!(page.contains("kvtest\\-top(8)"), "{page}");
    let sentence = answered(&["--generate", "man", "fly"]).unwrap_err();
    assert!(sentence.contains("pages") && sentence.contains("'man fly'"), "{sentence}");
}

#[test]
fn lists_examples_and_line_ends_of_a_help_text_stay_what_they_are() {
    let page = "\
.SH OPTIONS
.TP
\\fB\\-\\-way\\fR
Which way.

One of
  auto    as it comes
  off     none at all
A first line.
A second line.
.TP
\\fB\\-\\-other\\fR
Another.
.SH EXTRA
Examples:
  The first:
    kvtest \\-\\-way off

  The second:
    kvtest
The end.
";
    let expected = "\
.SH OPTIONS
.TP
\\fB\\-\\-way\\fR
Which way.

One of
.RS
.TP
auto
as it comes
.TP
off
none at all
.RE
.IP
A first line.
.br
A second line.
.TP
\\fB\\-\\-other\\fR
Another.
.SH EXAMPLES
.nf
  The first:
    kvtest \\-\\-way off

  The second:
    kvtest
.fi
The end.
";
    assert_eq!(typeset::typeset(page), expected);
}
