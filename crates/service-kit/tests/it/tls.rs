//! The section `tls`, and TLS of the database.

use crate::config::Written;

const FILES: &str = "tls: { ca_file: ca.crt, certificate_file: tls.crt, key_file: tls.key }\n";

#[test]
fn section_is_optional_but_complete() {
    assert_eq!(Written::yaml("").load().expect("valid").tls, None);
    assert_eq!(Written::yaml("tls: { trust_domain: shop }\n").load().expect("valid").tls, None);
    let tls = Written::yaml(FILES).load().expect("valid").tls.expect("the section is set");
    assert_eq!(tls.trust_domain, "goconductor");
    assert_eq!(tls.files.key_file, Some("tls.key".into()));
    assert_eq!(
        Written::yaml("tls: { ca_file: ca.crt }\n").problems(),
        [
            "goconductor.yaml:1:17: tls.certificate_file: is missing: tls.ca_file requires it",
            "goconductor.yaml:1:17: tls.key_file: is missing: tls.ca_file requires it",
        ]
    );
    let problems = Written::yaml("tls: { trust_domain: Shop/1 }\n").problems();
    assert!(problems[0].contains("expected a trust domain such as prod.example.com"), "{problems:?}");
}

#[test]
fn addresses_of_other_processes_have_the_scheme_of_the_section() {
    let urls = |scheme: &str| {
        format!(
            "state_store: {{ endpoints: ['{scheme}://a:1'] }}\nelection: {{ electors: ['{scheme}://b:1'] }}\n"
        )
    };
    assert!(Written::yaml(&urls("http")).load().is_ok());
    assert!(Written::yaml(&(urls("https") + FILES)).load().is_ok());
    let problems = Written::yaml(&(urls("http") + FILES)).problems();
    assert!(
        problems[0].contains("http://a:1 is not encrypted, but tls.certificate_file is set"),
        "{problems:?}"
    );
    assert_eq!(problems.len(), 2);
    let problems = Written::yaml(&urls("https")).problems();
    assert!(problems[0].contains("https://a:1 requires tls.ca_file"), "{problems:?}");
}

#[test]
fn services_behind_the_gateway_may_listen_on_any_address_with_tls() {
    for setting in ["state_store", "executor", "election"] {
        let listen = format!("{setting}: {{ listen: '0.0.0.0:1' }}\n");
        let problems = Written::yaml(&listen).problems();
        assert!(
            problems[0].contains("GC2060")
                && problems[0].contains("its callers are not authenticated without TLS")
                && problems[0].contains("set tls.ca_file"),
            "{problems:?}"
        );
        assert!(Written::yaml(&(listen + FILES)).load().is_ok(), "{setting}");
    }
}

#[test]
fn gateway_may_listen_on_any_address_with_tls_and_access_control() {
    let listen = "listen: '0.0.0.0:1'\n";
    let access = "access: { enabled: true }\n";
    let problems = Written::yaml(&format!("{listen}{FILES}")).problems();
    assert!(problems[0].contains("GC2060") && problems[0].contains("`access.enabled: true`"), "{problems:?}");
    let problems = Written::yaml(&format!("{listen}{access}")).problems();
    assert!(problems[0].contains("GC2060") && problems[0].contains("set tls.ca_file"), "{problems:?}");
    assert!(Written::yaml(&format!("{listen}{FILES}{access}")).load().is_ok());
}

#[test]
fn resolved_name_is_refused_unless_all_its_callers_are_protected() {
    let any = [std::net::SocketAddr::from(([192, 168, 0, 1], 1))];
    let name = "services.example:1".parse().expect("the address is valid");
    let check = |yaml: &str| {
        let config = Written::yaml(yaml).load().expect("names are checked when they are resolved");
        config.check_resolved(&name, &any).is_ok()
    };
    let listen = "executor: { listen: 'services.example:1' }\n";
    assert!(!check(listen));
    assert!(check(&format!("{listen}{FILES}")));
    let both = format!("{listen}{FILES}listen: 'services.example:1'\n");
    assert!(!check(&both), "the gateway has the same address");
    assert!(check(&format!("{both}access: {{ enabled: true }}\n")));
    assert!(!check(FILES), "no setting has the address");
}

#[test]
fn files_of_the_database_become_parameters_of_its_url() {
    let url = |yaml: &str| {
        let config = Written::yaml(yaml).load().expect("valid");
        config.state_store.url.expect("the URL is set").expose().to_owned()
    };
    let base = "state_store:\n  url: postgres://me:secret@db/orders\n";
    assert_eq!(url(base), "postgres://me:secret@db/orders");
    assert_eq!(
        url(&format!("{base}  tls: {{ ca_file: /etc/ca.crt }}\n")),
        "postgres://me:secret@db/orders?sslmode=verify-full&sslrootcert=%2Fetc%2Fca%2Ecrt"
    );
    let parameter = base.replace("orders", "orders?application_name=x");
    assert_eq!(
        url(&format!("{parameter}  tls: {{ ca_file: a, certificate_file: b, key_file: c }}\n")),
        "postgres://me:secret@db/orders?application_name=x&sslmode=verify-full&sslrootcert=a&sslcert=b&sslkey=c"
    );
}

#[test]
fn contradictory_tls_of_the_database_is_a_problem() {
    for (yaml, expected) in [
        ("url: postgres://db/o, tls: { key_file: a }", "state_store.tls.ca_file: is missing"),
        (
            "url: postgres://db/o, tls: { ca_file: a, key_file: b }",
            "must have certificate_file and key_file, or neither",
        ),
        (
            "url: 'postgres://db/o?sslmode=disable', tls: { ca_file: a }",
            "contradicts sslmode in state_store.url",
        ),
        ("tls: { ca_file: a }", "has no effect unless state_store.url is that of PostgreSQL"),
        ("url: 'sqlite:///a.db', tls: { ca_file: a }", "has no effect unless"),
    ] {
        let problems = Written::yaml(&format!("state_store: {{ {yaml} }}\n")).problems();
        assert!(problems[0].contains(expected), "{problems:?}");
    }
}
