use super::*;
use std::collections::BTreeMap;
use tempfile::TempDir;

const PASSWORD_TEXT: &str = "hunter2";

type Variables<'a> = &'a [(&'a str, &'a str)];

/// The settings, or the faults without their heading.
fn read(variables: Variables<'_>) -> Result<Security, Vec<String>> {
    let mut environment = Environment::from_fn(|name| {
        let set = variables.iter().find(|(key, _)| *key == name);
        set.map(|(_, value)| (*value).to_owned())
    });
    let security = Security::configure(&mut environment);
    environment.finish(security).map_err(|error| {
        let text = error.to_string();
        text.lines()
            .skip(1)
            .map(|line| line.trim().to_owned())
            .collect()
    })
}

fn properties(security: &Security) -> BTreeMap<String, String> {
    let mut config = ClientConfig::new();
    security.apply(&mut config);
    // The map itself shows no passwords.
    let names: Vec<&str> = config.config_map().into_keys().collect();
    names
        .iter()
        .map(|name| ((*name).to_owned(), config.get(name).unwrap().to_owned()))
        .collect()
}

fn expected(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn file(folder: &TempDir, name: &str, content: &str) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    path.display().to_string()
}

#[test]
fn nothing_set_is_plaintext() {
    let security = read(&[]).unwrap();
    assert_eq!(
        properties(&security),
        expected(&[("security.protocol", "PLAINTEXT")])
    );
}

#[test]
fn a_login_without_tls_takes_a_user_and_a_password_from_variable_or_file() {
    let folder = TempDir::new().unwrap();
    let password_file = file(&folder, "password", " hunter2 \r\n");
    for (name, value, password) in [
        (PASSWORD, " hunter2 ", " hunter2 "),
        (PASSWORD_FILE, password_file.as_str(), " hunter2 "),
    ] {
        let security = read(&[
            (PROTOCOL, "sasl_plaintext"),
            (MECHANISM, "plain"),
            (USERNAME, "app"),
            (name, value),
        ]);
        let security = security.unwrap();
        assert_eq!(
            properties(&security),
            expected(&[
                ("security.protocol", "SASL_PLAINTEXT"),
                ("sasl.mechanism", "PLAIN"),
                ("sasl.username", "app"),
                ("sasl.password", password),
            ])
        );
        assert!(!format!("{security:?}").contains(PASSWORD_TEXT));
    }
}

#[test]
fn what_is_missing_or_wrong_is_named_and_no_secret_is_quoted() {
    let folder = TempDir::new().unwrap();
    let password_file = file(&folder, "password", PASSWORD_TEXT);
    let empty = file(&folder, "empty", "\n");
    let nowhere = folder.path().join("nowhere").display().to_string();
    let cases: [(Variables<'_>, &[&str]); 8] = [
        (
            &[(PROTOCOL, "TLS"), (USERNAME, "app")],
            &["KAFKA_SECURITY_PROTOCOL: must be one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL"],
        ),
        (
            &[(PROTOCOL, "SASL_PLAINTEXT")],
            &[
                "KAFKA_SASL_MECHANISM: is needed with KAFKA_SECURITY_PROTOCOL=SASL_PLAINTEXT",
                "KAFKA_SASL_USERNAME: is needed with KAFKA_SECURITY_PROTOCOL=SASL_PLAINTEXT",
                "KAFKA_SASL_PASSWORD: is needed with KAFKA_SECURITY_PROTOCOL=SASL_PLAINTEXT",
            ],
        ),
        (
            &[
                (PROTOCOL, "SASL_PLAINTEXT"),
                (MECHANISM, "GSSAPI"),
                (USERNAME, "app"),
                (PASSWORD, PASSWORD_TEXT),
            ],
            &["KAFKA_SASL_MECHANISM: must be one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512"],
        ),
        (
            &[
                (PROTOCOL, "SASL_PLAINTEXT"),
                (MECHANISM, "PLAIN"),
                (USERNAME, "app"),
                (PASSWORD, PASSWORD_TEXT),
                (PASSWORD_FILE, &password_file),
            ],
            &["KAFKA_SASL_PASSWORD_FILE: is set, and so is KAFKA_SASL_PASSWORD; leave one out"],
        ),
        (
            &[
                (PROTOCOL, "SASL_PLAINTEXT"),
                (MECHANISM, "PLAIN"),
                (USERNAME, "app"),
                (PASSWORD_FILE, &nowhere),
            ],
            &[
                "KAFKA_SASL_PASSWORD_FILE: NOWHERE cannot be read: No such file or directory (os error 2)",
            ],
        ),
        (
            &[
                (PROTOCOL, "SASL_PLAINTEXT"),
                (MECHANISM, "PLAIN"),
                (USERNAME, "app"),
                (PASSWORD_FILE, &empty),
            ],
            &["KAFKA_SASL_PASSWORD_FILE: EMPTY is empty"],
        ),
        (
            &[(USERNAME, "app"), (PASSWORD, PASSWORD_TEXT)],
            &[
                "KAFKA_SASL_USERNAME: has no effect with KAFKA_SECURITY_PROTOCOL=PLAINTEXT; set that to SASL_SSL",
                "KAFKA_SASL_PASSWORD: has no effect with KAFKA_SECURITY_PROTOCOL=PLAINTEXT; set that to SASL_SSL",
            ],
        ),
        (
            &[(CA_FILE, &password_file), (KEY_PASSWORD, PASSWORD_TEXT)],
            &[
                "KAFKA_SSL_CA_FILE: PASSWORD holds no `-----BEGIN … CERTIFICATE-----`; it must be PEM",
                "KAFKA_SSL_KEY_PASSWORD: has no effect with KAFKA_SECURITY_PROTOCOL=PLAINTEXT; set that to SSL or SASL_SSL",
            ],
        ),
    ];
    for (variables, faults) in cases {
        let reported: Vec<String> = read(variables)
            .unwrap_err()
            .iter()
            .map(|fault| {
                fault
                    .replace(&nowhere, "NOWHERE")
                    .replace(&empty, "EMPTY")
                    .replace(&password_file, "PASSWORD")
            })
            .collect();
        assert_eq!(reported, faults);
    }
}

#[cfg(not(feature = "tls"))]
#[test]
fn a_build_without_tls_says_so() {
    let security = read(&[
        (PROTOCOL, "SASL_SSL"),
        (MECHANISM, "SCRAM-SHA-512"),
        (USERNAME, "app"),
        (PASSWORD, PASSWORD_TEXT),
    ]);
    assert_eq!(
        security.unwrap_err(),
        [
            "KAFKA_SECURITY_PROTOCOL: this program was built without TLS: build it with --features tls",
            "KAFKA_SASL_MECHANISM: this program was built without TLS: build it with --features tls",
        ]
    );
}

#[cfg(feature = "tls")]
#[test]
fn tls_checks_the_host_and_takes_the_clients_own_certificate() {
    let folder = TempDir::new().unwrap();
    let ca = file(&folder, "ca", "-----BEGIN CERTIFICATE-----");
    let certificate = file(&folder, "certificate", "-----BEGIN CERTIFICATE-----");
    let key = file(&folder, "key", "-----BEGIN ENCRYPTED PRIVATE KEY-----");
    let security = read(&[
        (PROTOCOL, "SSL"),
        (CA_FILE, &ca),
        (CERTIFICATE_FILE, &certificate),
        (KEY_FILE, &key),
        (KEY_PASSWORD, PASSWORD_TEXT),
    ]);
    let security = security.unwrap();
    assert_eq!(
        properties(&security),
        expected(&[
            ("security.protocol", "SSL"),
            ("enable.ssl.certificate.verification", "true"),
            ("ssl.endpoint.identification.algorithm", "https"),
            ("ssl.ca.location", &ca),
            ("ssl.certificate.location", &certificate),
            ("ssl.key.location", &key),
            ("ssl.key.password", PASSWORD_TEXT),
        ])
    );
    assert!(!format!("{security:?}").contains(PASSWORD_TEXT));

    let without_key = read(&[(PROTOCOL, "SSL"), (CERTIFICATE_FILE, &certificate)]);
    assert_eq!(
        without_key.unwrap_err(),
        ["KAFKA_SSL_KEY_FILE: is needed with KAFKA_SSL_CERTIFICATE_FILE"]
    );
    let without_certificate = read(&[(PROTOCOL, "SSL"), (KEY_FILE, &key)]);
    assert_eq!(
        without_certificate.unwrap_err(),
        ["KAFKA_SSL_KEY_FILE: has no effect without KAFKA_SSL_CERTIFICATE_FILE"]
    );
}

#[test]
fn the_list_of_variables_is_what_is_read() {
    let mut environment = Environment::from_fn(|_| None);
    Security::configure(&mut environment);
    let read: Vec<&str> = environment.variables().iter().map(|it| it.name).collect();
    assert_eq!(read, VARIABLES);
}
