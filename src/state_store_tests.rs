use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::*;
use crate::domain::state::ContextState;
use crate::domain::test_support::{at, push_ref, repository_key, service_key};
use crate::domain::types::ContextName;

fn folder() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state.json");
    (folder, path)
}

fn some_state(second: i64) -> State {
    let mut state = State::default();
    state.contexts.insert(ContextName::parse("default").unwrap(), ContextState::new(at(second)));
    state
        .services
        .get_or_default(service_key("a"))
        .add_pending(&repository_key("hello"), push_ref("e1", "latest", second));
    state
}

#[test]
fn what_is_committed_is_found_again() {
    let (_folder, path) = folder();
    let (state_store, found) = StateStore::open(&path).unwrap();
    assert_eq!(found, Loaded::Missing);
    state_store.commit_here(&some_state(1)).unwrap();
    state_store.commit_here(&some_state(2)).unwrap();
    drop(state_store);
    let (_state_store, found) = StateStore::open(&path).unwrap();
    assert_eq!(found, Loaded::State(Box::new(some_state(2))));
    assert_eq!(read(&beside(&path, "previous")).unwrap(), Loaded::State(Box::new(some_state(1))));
}

/// Files of every phase, as this version and those before it wrote them.
#[test]
fn a_file_is_written_as_it_was_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/state/v1");
    let files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() > 20, "only {} files were found", files.len());
    for path in files {
        let text = std::fs::read(&path).unwrap();
        let state = parse(&path, &text).unwrap();
        assert_eq!(String::from_utf8(render(&state)).unwrap(), String::from_utf8(text).unwrap(), "{}", path.display());
    }
}

#[test]
fn only_the_owner_can_read_it_and_people_can() {
    let (_folder, path) = folder();
    let (state_store, _) = StateStore::open(&path).unwrap();
    state_store.commit_here(&some_state(1)).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("{\n\"version\": 1,\n\"contexts\": {\n\"default\": {"), "{text}");
    let services: Vec<&str> = text.lines().filter(|line| line.starts_with("\"default/")).collect();
    assert_eq!(services.len(), 1, "a line for each service: {text}");
}

#[test]
fn a_second_process_is_locked_out() {
    let (_folder, path) = folder();
    let (first, _) = StateStore::open(&path).unwrap();
    assert!(matches!(StateStore::open(&path), Err(StateStoreError::Locked(_))));
    drop(first);
    assert!(StateStore::open(&path).is_ok());
}

#[test]
fn what_cannot_be_understood_is_refused_and_left_as_it_is() {
    let whole = String::from_utf8(render(&some_state(1))).unwrap();
    let torn = &whole[..whole.len() / 2];
    for text in
        ["", "{", "null", "[]", "{}", "not json", "{\"version\": 0}", "{\"version\": \"1\"}", "{\"version\": 1}", torn]
    {
        let (_folder, path) = folder();
        std::fs::write(&path, text).unwrap();
        let error = StateStore::open(&path).unwrap_err();
        assert!(matches!(error, StateStoreError::Corrupt { .. }), "{text:?}: {error}");
        assert!(error.to_string().contains("restore it from"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn a_newer_version_is_not_corrupt() {
    let (_folder, path) = folder();
    std::fs::write(&path, "{\"version\": 2, \"whatever\": []}").unwrap();
    let error = StateStore::open(&path).unwrap_err();
    assert!(matches!(error, StateStoreError::Newer { found: 2, .. }));
    assert!(error.to_string().contains("run the newer ecs-deployd"), "{error}");
}

#[test]
fn a_folder_that_is_not_there_cannot_be_written() {
    let (folder, _) = folder();
    let error = StateStore::open(&folder.path().join("absent/state.json")).unwrap_err();
    assert!(matches!(error, StateStoreError::Unwritable { .. }), "{error}");
}

#[test]
fn a_failed_commit_leaves_the_last_one() {
    let (_folder, path) = folder();
    let (state_store, _) = StateStore::open(&path).unwrap();
    state_store.commit_here(&some_state(1)).unwrap();
    // A folder in the place of the temporary file: it cannot be opened for writing, even by root.
    std::fs::create_dir(beside(&path, "new")).unwrap();
    assert!(matches!(state_store.commit_here(&some_state(2)), Err(StateStoreError::Unwritable { .. })));
    assert_eq!(read(&path).unwrap(), Loaded::State(Box::new(some_state(1))));
}

#[test]
fn a_temporary_file_that_a_crash_left_is_no_state() {
    let (_folder, path) = folder();
    std::fs::write(beside(&path, "new"), "{\"version\": 1, \"contexts\": {").unwrap();
    let (state_store, found) = StateStore::open(&path).unwrap();
    assert_eq!(found, Loaded::Missing);
    state_store.commit_here(&some_state(1)).unwrap();
    assert!(matches!(read(&path).unwrap(), Loaded::State(_)));
}
