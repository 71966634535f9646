//! The pages of `docs/` are true: their commands run as written and print what the page shows, as
//! [`session`] describes.

use zstream_tests::program::root;
use zstream_tests::session;

/// `sh` blocks are shown only, since they need OpenZFS or another machine.
#[test]
fn pages_are_true() {
    let pages = session::assert_true(&root().join("docs"), &[]);
    assert!(pages >= 6, "pages with commands are missing: {pages}");
}

/// Relative links in the documents lead to files.
#[test]
fn links_lead_to_files() {
    let tops = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md"];
    let pages =
        std::fs::read_dir(root().join("docs")).expect("docs").map(|entry| entry.expect("an entry").path());
    let pages = pages.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let (mut count, mut lost) = (0, Vec::new());
    for path in tops.iter().map(|name| root().join(name)).chain(pages) {
        let text = std::fs::read_to_string(&path).expect("a document");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            if target.is_empty() || target.contains("://") {
                continue;
            }
            count += 1;
            if !path.parent().expect("a directory").join(target).exists() {
                lost.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(count > 30 && lost.is_empty(), "{count} links; lost: {lost:?}");
}
