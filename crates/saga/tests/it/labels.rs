//! The rule for labels.

use goconductor_saga::check_labels;
use std::collections::BTreeMap;

fn check(labels: &[(&str, &str)]) -> Result<(), String> {
    let labels: BTreeMap<String, String> =
        labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    check_labels(&labels).map_err(|error| error.to_string())
}

#[test]
fn each_label_must_fit_the_rule() {
    let (longest, longer) = ("ä".repeat(256), "ä".repeat(257));
    for accepted in [("team", ""), ("team", "shop & co"), (&longest, &longest)] {
        assert_eq!(check(&[accepted]), Ok(()), "{accepted:?}");
    }
    for refused in [("", "x"), ("a\0b", "x"), ("a", "x\ny"), (&longer, "x"), ("a", &longer)] {
        assert!(check(&[("fine", "x"), refused]).is_err(), "{refused:?}");
    }
    let error = check(&[("a\0b", "x")]).unwrap_err();
    assert!(
        error.starts_with("invalid labels: the label `a\\0b` has an invalid name; use at most 64"),
        "{error}"
    );
}

#[test]
fn more_than_64_labels_are_refused() {
    let labels = |count: usize| (0..count).map(|number| (format!("l{number}"), String::new())).collect();
    assert_eq!(check_labels(&labels(64)), Ok(()));
    let error = check_labels(&labels(65)).unwrap_err();
    assert!(error.to_string().starts_with("invalid labels: found 65 labels;"), "{error}");
}
