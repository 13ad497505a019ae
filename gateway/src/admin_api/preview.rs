//! The answer to a dry run: what would change.

use axum::Json;
use serde_json::{Value, json};

/// What would differ: each value by the JSON pointer of its place.
pub(super) fn changes(before: &Value, after: &Value) -> Json<Value> {
    let mut changes = Vec::new();
    compare(&mut changes, "", before, after);
    Json(json!({ "dry_run": true, "changes": changes }))
}

fn compare(changes: &mut Vec<Value>, place: &str, before: &Value, after: &Value) {
    match (before, after) {
        (Value::Object(one), Value::Object(other)) => {
            let mut names: Vec<_> = one.keys().chain(other.keys()).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                let place = format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"));
                let value =
                    |object: &serde_json::Map<String, Value>| object.get(name).cloned().unwrap_or_default();
                compare(changes, &place, &value(one), &value(other));
            }
        }
        _ if before == after => {}
        _ => changes.push(json!({ "place": place, "before": before, "after": after })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_shown() {
        let before = json!({ "a": { "x": 1, "y/z": [1] }, "gone": true, "same": "s" });
        let after = json!({ "a": { "x": 2, "y/z": [1, 2] }, "new": null, "same": "s", "more": 0 });
        let Json(answer) = changes(&before, &after);
        assert_eq!(
            answer,
            json!({ "dry_run": true, "changes": [
                { "place": "/a/x", "before": 1, "after": 2 },
                { "place": "/a/y~1z", "before": [1], "after": [1, 2] },
                { "place": "/gone", "before": true, "after": null },
                { "place": "/more", "before": null, "after": 0 },
            ] })
        );
        assert_eq!(changes(&after, &after).0["changes"], json!([]));
    }
}
