//! The real server by a configuration file: two systems as one record, logins with passwords,
//! and a client that needs nothing special.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::process::Stdio;

use ehi_adapters::testing::TestDatabase;
use serde_json::Value;
use tempfile::TempDir;

use crate::app::{App, Job, PATIENT_PASSWORD};
use crate::browser::{http, send};
use crate::choices::everything;
use crate::export::lines;
use crate::patients::{ANNA, anna};
use crate::server::{Server, command};
use crate::staff::Staff;

/// The billing system's table, and what is told of it.
const LEDGER: &str = "
    CREATE TABLE ledger (account integer, posted_on date, amount numeric(12, 2), remark text);
    INSERT INTO ledger VALUES
        (77, '2009-03-02', 120.00, 'Office visit, \"level 3\"'),
        (77, '2014-11-11', 85.50, ''),
        (78, '2010-01-04', 40.00, NULL)";

const QUERIES: &str = r#"
[[query]]
name = "ledger"
description = "Charges of the old billing system"
part = "billing"
format = { code = "billing-ledger", display = "Billing ledger" }
dates = { from = "posted_on" }
sql = "SELECT posted_on, amount, remark FROM ledger WHERE account = $patient::integer ORDER BY posted_on"
[query.columns]
posted_on = "Day of the posting"
amount = "US dollars"
remark = "What the clerk noted"
"#;

/// What `ehi-server hash-password` makes of a password.
pub fn hash(password: &str) -> String {
    let mut child = command()
        .arg("hash-password")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    writeln!(input, "{password}").unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A server of Anna's Bundle and her account in the billing system.
fn serve(database_url: &str) -> Server {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let write = |name: &str, content: &str| fs::write(folder.path().join(name), content).unwrap();
    fs::create_dir(folder.path().join("records")).unwrap();
    write("records/anna.json", &anna());
    write("queries.toml", QUERIES);
    write("ids.csv", &format!("ours,theirs\n{ANNA},77\n"));
    let (staff, patient) = (hash("admin-password"), hash(PATIENT_PASSWORD));
    write(
        "directory.toml",
        &format!(
            "[[client]]\nid = 'test_client_id'\nname = 'Plain app'\nloopback = 'any'\n\
             [[staff]]\nusername = 'admin'\npassword_hash = '{staff}'\n\
             [[patient]]\nusername = '{ANNA}'\npassword_hash = '{patient}'\npatient = '{ANNA}'\n"
        ),
    );
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    write(
        "ehi.toml",
        &format!(
            "public_url = 'http://{address}'\nlisten = '{address}'\ndata = '{}'\ndirectory = '{}'\n\
             [[records]]\nname = 'the EHR'\nbundles = '{}'\n\
             [[records]]\nname = 'the old billing system'\noptional = true\nids = '{}'\n\
             tables = {{ database_url = '{database_url}', queries = '{}' }}\n",
            at("data"),
            at("directory.toml"),
            at("records"),
            at("ids.csv"),
            at("queries.toml"),
        ),
    );
    Server::serve(folder)
}

#[tokio::test]
async fn a_record_of_two_systems_is_chosen_reviewed_and_fetched() {
    let database = TestDatabase::create().await;
    database.run(LEDGER).await;
    let server = serve(&database.url());
    let app = App::connect(&server, ANNA).await;

    // Nobody skips the form or the review here, and the Link header is that of RFC 8288.
    app.try_kick_off("/no-form").await.expect(404);
    let kick_off = app.try_kick_off("").await.expect(202);
    let link = kick_off.header("link").to_owned();
    assert!(
        link.starts_with("<http") && link.ends_with(">; rel=\"patient-interaction\""),
        "{link}"
    );
    let job = Job::read(&kick_off);
    let mut choices = everything();
    choices["parameters"]["billing"]["from"] = "2010".into();
    app.customise(&job, &choices).await.expect(200);
    app.wait_for(&job, "retrieved").await;

    let staff = Staff::log_in(&server).await;
    let note = ("note.txt", "text/plain", b"Dear Anna".as_slice());
    staff.add_files(&job, &[note]).await.expect(200);
    staff.approve(&job).await.expect(200);
    let manifest = app.wait_for_manifest(&job).await.json();
    let files = manifest["output"].as_array().unwrap();
    let announced = files
        .iter()
        .find(|file| file["url"].to_string().contains("attachments."));
    let announced = announced.expect("attachments are announced");
    assert_eq!(announced["count"], 2);
    let announced = lines(
        &app.get(announced["url"].as_str().unwrap())
            .await
            .expect(200),
    );
    assert_eq!(announced.len(), 2, "one DocumentReference each");

    let of = |title: &str| -> &Value {
        let attachment = |told: &&Value| told["content"][0]["attachment"]["title"] == title;
        announced.iter().find(attachment).expect(title)
    };
    let ledger = &of("ledger.csv")["content"][0];
    assert_eq!(ledger["format"]["code"], "billing-ledger");
    let fetched = app
        .get(ledger["attachment"]["url"].as_str().unwrap())
        .await
        .expect(200);
    assert_eq!(
        fetched.text(),
        "posted_on,amount,remark\r\n2014-11-11,85.50,\"\"\r\n",
        "since 2010, of Anna's account alone"
    );
    assert_eq!(
        of("note.txt")["description"],
        "note.txt, added by the hospital"
    );

    // The page the format's system points at explains it.
    let documentation = ledger["format"]["system"].as_str().unwrap();
    let page = send(http().get(documentation)).await.expect(200);
    for told in [
        "billing-ledger",
        "Charges of the old billing system",
        "What the clerk noted",
        "numeric",
    ] {
        assert!(page.text().contains(told), "{told}");
    }
    assert!(!server.log().contains(PATIENT_PASSWORD) && !server.log().contains("admin-password"));
}
