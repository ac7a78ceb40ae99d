//! Key lists and obvious mistakes. An error names the number of the entry and never its value.

use crate::support;

use http::Request;
use proptest::prelude::*;
use support::{KEY, OTHER, ask, cases};
use tower_api_key::{
    ApiKeyLayer, Client, KeyDigest, Keyring,
    error::{KeyringError, KeyringErrorKind as Kind},
    extract::header,
};

fn outcome(keys: &Keyring, key: &str) -> String {
    let layer = ApiKeyLayer::new(header("x-api-key"), keys.clone());
    ask(&layer, Request::get("/").header("x-api-key", key)).outcome()
}

#[track_caller]
fn assert_says_no_part_of(error: &KeyringError, value: &str) {
    let text = format!("{error} {error:?} {error:#?}");
    // The placeholder is a word of the message and no secret.
    let parts = value.split([',', '=', '\n', ' ', '"', '\'']).filter(|part| *part != "placeholder");
    for part in parts.filter(|part| part.len() >= 10) {
        assert!(!text.contains(part), "{text}");
    }
}

const HEX: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

#[test]
fn an_obvious_mistake_is_rejected_by_every_method() {
    let sums = [
        format!("{HEX}  -"),
        format!("{HEX} *key.txt"),
        format!("{}  key.txt", HEX.to_uppercase()),
        format!("{}  -", &HEX[..40]),
        format!("SHA256 (-) = {HEX}"),
        format!("SHA2-256(stdin)= {HEX}"),
        format!("sha256-{HEX}"),
        format!("sha-256:{}", HEX.to_uppercase()),
        format!("SHA256:{HEX}"),
        format!("sha512:{HEX}{HEX}"),
        "sha256-n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=".to_owned(),
        "SHA256:n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg".to_owned(),
    ];
    let quoted = [
        r#""sk_live_0123456789""#,
        "'sk_live_0123456789'",
        "`sk_live_0123456789`",
        r#"\"sk_live_0123456789\""#,
        r#"{"key":"sk_live_0123456789"}"#,
        r#"["sk_live_0123456789"]"#,
    ];
    let schemes = [
        "Bearer abc",
        "bearer abc",
        "Bearer  abc",
        "Basic dXNlcjpwYXNz",
        "ApiKey abc",
        "Api-Key abc",
        "Token abc",
        "Bearer: abc",
        "Authorization: Bearer abc",
        "Authorization:Bearer abc",
        "X-Api-Key: abc",
        "x-api-key:abc",
        "key: abc",
    ];
    let placeholders = [
        "${MOBILE_APP_KEY}",
        "${MOBILE_APP_KEY:-none}",
        "sk_live_${SUFFIX}",
        "$MOBILE_APP_KEY",
        "$(cat /run/secrets/key)",
        "$(MOBILE_APP_KEY)",
        "$(<key.txt)",
        "$env:MOBILE_APP_KEY",
        "{{ .key }}",
        "{{key}}",
        "sk_{{ key }}",
        "<%= key %>",
        "#{MOBILE_APP_KEY}#",
        "${{ secrets.KEY }}",
        "%MOBILE_APP_KEY%",
        "@MOBILE_APP_KEY@",
        "@@MOBILE_APP_KEY@@",
        "__MOBILE_APP_KEY__",
        "<key>",
        "<your-api-key>",
        "<no value>",
        "[REDACTED]",
        "{key}",
        "((mobile-app-key))",
        "=",
        "==",
        "****",
        "...",
        "---",
        "xxxxxxxx",
        "XXXX",
        "changeme",
        "CHANGE_ME",
        "change-me",
        "replaceme",
        "placeholder",
        "your-api-key",
        "null",
        "None",
        "undefined",
        "op://vault/item/field",
        "https://vault.example/key",
        "/run/secrets/api_key",
        "arn:aws:secretsmanager:eu-central-1:1:secret:key",
    ];
    let all = (sums.iter().map(|it| (&**it, Kind::DigestAsKey)))
        .chain(quoted.map(|it| (it, Kind::QuotedKey)))
        .chain(schemes.map(|it| (it, Kind::KeyWithScheme)))
        .chain(placeholders.map(|it| (it, Kind::PlaceholderKey)));
    for (text, kind) in all {
        let keys = Keyring::new();
        let error = keys.insert(text, Client::new("ci")).unwrap_err();
        assert_eq!((error.kind(), error.entry()), (kind, None), "{text}");
        assert_says_no_part_of(&error, text);
        assert!(keys.is_empty());
        assert_eq!(Keyring::single(text).unwrap_err().kind(), kind, "{text}");

        if text.contains(',') {
            continue;
        }
        let error = format!("ci={KEY},mobile-app={text}").parse::<Keyring>().unwrap_err();
        let in_a_list = match kind {
            // In a list these texts have another meaning, and so another error.
            Kind::DigestAsKey if text.starts_with("SHA256:") => Kind::Digest,
            Kind::PlaceholderKey if text.trim_matches('=').is_empty() => Kind::ListEntry,
            kind => kind,
        };
        assert_eq!((error.kind(), error.entry()), (in_a_list, Some(2)), "{text}");
        assert_says_no_part_of(&error, text);
    }
}

#[test]
fn the_error_of_a_mistake_in_a_list_names_the_entry() {
    for (list, kind, entry) in [
        // `openssl rand -base64 16`, without a client.
        ("MTIzNDU2Nzg5MDEyMzQ1Ng==", Kind::ListEntry, 1),
        ("ci=K,MTIzNDU2Nzg5MDEyMzQ1Ng==", Kind::ListEntry, 2),
        ("ci MTIzNDU2Nzg5MDEyMzQ1Ng==", Kind::ListEntry, 1),
        ("ci:MTIzNDU2Nzg5MDEyMzQ1Ng==", Kind::ListEntry, 1),
        ("MTIzNDU2Nzg5MDEyMzQ1Njc=", Kind::BlankKey, 1),
        ("H", Kind::ListEntry, 1),
        ("H  -", Kind::DigestAsKey, 1),
        ("sha256:H=ci", Kind::ListEntry, 1),
        ("${API_KEYS}", Kind::PlaceholderKey, 1),
        ("{{ .Values.keys }}", Kind::PlaceholderKey, 1),
        ("<client>=<key>", Kind::PlaceholderKey, 1),
        ("${CLIENT}=K", Kind::PlaceholderKey, 1),
        ("Bearer K", Kind::KeyWithScheme, 1),
        // Quotes around the whole list.
        ("\"ci=K,mobile-app=O\"", Kind::QuotedKey, 1),
        ("'ci=K'", Kind::QuotedKey, 1),
        ("`ci=K`", Kind::QuotedKey, 1),
        (r#"\"ci=K\""#, Kind::QuotedKey, 1),
        ("ci=\"K\",mobile-app=O", Kind::QuotedKey, 1),
        ("ci=K,mobile-app='O'", Kind::QuotedKey, 2),
        // Another format.
        (r#"{"mobile-app":"MTIzNDU2Nzg5MDEyMzQ1Ng=="}"#, Kind::ListFormat, 1),
        ("{\n  \"mobile-app\": \"MTIzNDU2Nzg5MDEyMzQ1Ng==\"\n}", Kind::ListFormat, 1),
        (r#"["mobile-app=K"]"#, Kind::ListFormat, 1),
        ("[keys]\nci=K", Kind::ListFormat, 1),
        ("- ci=K", Kind::ListFormat, 1),
        ("ci: K", Kind::ListFormat, 1),
        ("ci: MTIzNDU2Nzg5MDEyMzQ1Ng==", Kind::ListFormat, 1),
        // Another separator.
        ("ci=K;mobile-app=O", Kind::ListSeparator, 1),
        ("ci=K; mobile-app=O", Kind::ListSeparator, 1),
        ("ci=K mobile-app=O", Kind::ListSeparator, 1),
        ("ci=K\tmobile-app=O", Kind::ListSeparator, 1),
        ("ci=K | mobile-app=O", Kind::ListSeparator, 1),
        ("ci=K&mobile-app=O", Kind::ListSeparator, 1),
        ("a=1,ci=K mobile-app=sha256:H", Kind::ListSeparator, 2),
        ("ci=two words mobile-app=O", Kind::ListSeparator, 1),
        // The line of a shell.
        ("export API_KEYS=ci=K", Kind::ListAssignment, 1),
        ("set API_KEYS=ci=K", Kind::ListAssignment, 1),
        ("$env:API_KEYS=ci=K", Kind::ListAssignment, 1),
        // A comment at the end of a line.
        ("ci=K # old", Kind::ListComment, 1),
        ("ci=K,#mobile-app=O", Kind::ListComment, 2),
    ] {
        let list = list.replace('K', KEY).replace('O', OTHER).replace('H', HEX);
        let list = if list.contains("MTI") { list.replace(OTHER, "O") } else { list };
        let error = list.parse::<Keyring>().unwrap_err();
        assert_eq!((error.kind(), error.entry()), (kind, Some(entry)), "{list}");
        assert!(error.to_string().starts_with(&format!("entry {entry}: ")), "{error}");
        assert_says_no_part_of(&error, &list);
    }
}

#[test]
fn a_line_that_begins_with_a_number_sign_is_a_comment() {
    for list in [
        "#ci=O\nmobile-app=K",
        "# ci=O,ci=N\r\nmobile-app=K\r\n",
        "mobile-app=K\n  \t# the end",
        "\u{feff}# made by hand\nmobile-app=K",
    ] {
        let keys: Keyring = list.replace('K', KEY).replace('O', OTHER).parse().unwrap();
        assert_eq!((keys.len(), outcome(&keys, KEY)), (1, "200 mobile-app".to_owned()), "{list}");
        assert_eq!(outcome(&keys, OTHER), "401 unknown");
    }
    assert_eq!("#ci=abcdef0123456789".parse::<Keyring>().unwrap_err().kind(), Kind::EmptyList);
    // Comments do not count as entries.
    let error = format!("# one\nci={KEY}\n# two\nci").parse::<Keyring>().unwrap_err();
    assert_eq!((error.kind(), error.entry()), (Kind::ListEntry, Some(2)));
}

#[test]
fn a_byte_order_mark_and_windows_line_breaks_are_no_part_of_an_entry() {
    let keys: Keyring = format!("\u{feff}ci={KEY}\r\nmobile-app={OTHER}\r\n").parse().unwrap();
    assert_eq!([outcome(&keys, KEY), outcome(&keys, OTHER)], ["200 ci", "200 mobile-app"]);
}

#[test]
fn common_forms_of_keys_are_accepted() {
    let texts = [
        HEX,
        &HEX.to_uppercase(),
        &HEX[..32],
        "MTIzNDU2Nzg5MDEyMzQ1Ng==",
        "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=",
        "/n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg",
        "__n4bQgYhMfWWaL-qgxVrQFaO__",
        "7d444840-9dc0-11d1-b245-5ffdce74fad2",
        "sk_live_0123456789abcdef",
        "xoxb-1234-abcd",
        "AKIAIOSFODNN7EXAMPLE",
        "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",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "12345abcde",
        "your-secret-api-key",
        "two words",
        "correct horse battery staple",
        "Token ring is a network",
        "user:password",
        "shadow-of-1999",
        "p$a#s%s{w}o(r)d<1>",
        "it's",
        "\"quoted\" at one end",
        "$ecret",
        "$2b$10",
        "x",
        "aJ;bK=c!9",
        "a;b;c=",
    ];
    for key in texts {
        let keys = Keyring::single(key).unwrap_or_else(|error| panic!("{key}: {error}"));
        assert_eq!(outcome(&keys, key), "200 default", "{key}");
        let keys: Keyring = format!("mobile-app={key}\n").parse().unwrap();
        assert_eq!(outcome(&keys, key), "200 mobile-app", "{key}");
        // A digest can be of any key.
        let digest = KeyDigest::of(key).encode();
        let keys: Keyring = format!("mobile-app={digest}").parse().unwrap();
        assert_eq!(outcome(&keys, key), "200 mobile-app", "{key}");
    }
}

proptest! {
    #![proptest_config(cases(2048))]

    #[test]
    fn a_random_key_is_never_rejected_as_a_mistake(
        key in prop_oneof![
            "[0-9a-f]{32,64}",
            "[A-Za-z0-9+/]{22,86}={0,2}",
            "[A-Za-z0-9_-]{22,86}",
            "[a-z]{2,4}_(live|test)_[A-Za-z0-9]{24}",
        ],
    ) {
        prop_assert!(Keyring::single(&key).is_ok(), "{key}");
        prop_assert!(format!("mobile-app={key}").parse::<Keyring>().is_ok(), "{key}");
    }

    #[test]
    fn no_list_causes_a_panic(list in "\\PC*|[ -~\\n]*") {
        drop(list.parse::<Keyring>());
        drop(Keyring::single(&list));
    }
}

#[test]
fn fewer_than_one_in_500_random_keys_of_visible_characters_is_rejected() {
    let mut seed = 42_u64;
    let mut random = || {
        // Xorshift, so that every run has the same keys.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        char::from(b'!' + u8::try_from((seed >> 20) % 94).unwrap())
    };
    let keys = (0..10_000).map(|_| (0..32).map(|_| random()).collect::<String>());
    // A comma would end the entry.
    let keys: Vec<_> = keys.filter(|key| !key.contains(',')).collect();
    let is_rejected = |key: &&String| format!("mobile-app={key}").parse::<Keyring>().is_err();
    assert!(keys.iter().filter(is_rejected).count() * 500 < keys.len());
}

const VARIABLE: &str = "TOWER_API_KEY_TEST_LIST";
const CHILD: &str = "TOWER_API_KEY_TEST_LIST_CHILD";

/// Runs in a child process, because a process cannot safely change its environment.
#[test]
fn a_variable_whose_value_begins_with_its_own_name_is_rejected() {
    if std::env::var_os(CHILD).is_some() {
        println!("from_env: {}", Keyring::from_env(VARIABLE).unwrap_err());
        return;
    }
    for value in [format!("{VARIABLE}=ci={KEY}"), format!("export {VARIABLE}=ci={KEY}")] {
        let test = "key_lists::a_variable_whose_value_begins_with_its_own_name_is_rejected";
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args([test, "--exact", "--nocapture", "--test-threads=1"]);
        let output = child.env(CHILD, "1").env(VARIABLE, value).output().unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        let error =
            format!("from_env: {VARIABLE}: entry 1: {}", KeyringError::from(Kind::ListAssignment));
        assert!(output.contains(&error) && !output.contains(KEY), "{output}");
    }
}

#[cfg(feature = "tracing")]
mod log {
    use std::{
        fmt::{Debug, Write},
        sync::{Arc, Mutex},
    };

    use tracing::{Event, Subscriber, field::Field};
    use tracing_subscriber::{Layer, Registry, layer::Context, prelude::*};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Lines {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut line = format!("{} {}", event.metadata().level(), event.metadata().target());
            event.record(&mut |field: &Field, value: &dyn Debug| {
                write!(line, " {field}={value:?}").unwrap();
            });
            self.0.lock().unwrap().push(line);
        }
    }

    fn lines(run: impl FnOnce()) -> Vec<String> {
        let lines = Lines::default();
        tracing::subscriber::with_default(Registry::default().with(lines.clone()), run);
        std::mem::take(&mut *lines.0.lock().unwrap())
    }

    #[test]
    fn the_log_has_the_number_of_keys_and_clients_of_a_list() {
        let list = format!("ci={KEY},ci={OTHER},mobile-app={}", KeyDigest::of("third").encode());
        let lines = lines(|| drop(list.parse::<Keyring>().unwrap()));
        assert_eq!(lines, ["INFO tower_api_key::keyring message=keys loaded keys=3 clients=2"]);
    }

    #[test]
    fn the_log_warning_for_a_short_key_has_only_its_id() {
        for (key, warnings) in [("twenty-one-characters", 1), ("twenty-two-characters.", 0)] {
            let mut id = String::new();
            let lines = lines(|| {
                let keys = Keyring::single(key).unwrap();
                id = keys.records().next().unwrap().id().unwrap().to_owned();
            });
            assert_eq!(lines.len(), warnings, "{lines:?}");
            for line in lines {
                assert!(line.starts_with("WARN tower_api_key::keyring "), "{line}");
                assert!(line.contains(&id) && !line.contains(key), "{line}");
            }
        }
        // A rejected key causes no warning, and the length of a digest's key is unknown.
        let keys = Keyring::single("short").unwrap();
        let lines = lines(|| {
            keys.insert("short", Client::new("ci")).unwrap_err();
            keys.insert_digest(KeyDigest::of("shorter"), Client::new("ci")).unwrap();
        });
        assert_eq!(lines, [""; 0]);
    }
}
