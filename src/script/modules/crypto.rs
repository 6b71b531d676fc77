//! `@skep/crypto`: digests, random bytes, encodings, passwords.

use std::rc::Rc;

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use mlua::{BorrowedBytes, Lua, LuaString, Table};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

use super::AppContext;

/// The most random bytes in one call.
const MAX_RANDOM: usize = 1 << 20;
/// The longest password that is hashed, in bytes.
const MAX_PASSWORD: usize = 1024;

pub(super) fn open(lua: &Lua, _: &Rc<AppContext>) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    digest::<Md5>(lua, &module, "md5")?;
    digest::<Sha1>(lua, &module, "sha1")?;
    digest::<Sha256>(lua, &module, "sha256")?;
    digest::<Sha512>(lua, &module, "sha512")?;
    module.raw_set("hmac", lua.create_function(hmac)?)?;
    random(lua, &module)?;
    encodings(lua, &module)?;
    passwords(lua, &module)?;
    Ok(module)
}

fn fail(what: impl std::fmt::Display) -> mlua::Error {
    mlua::Error::runtime(format!("crypto: {what}"))
}

fn digest<D: Digest + 'static>(lua: &Lua, module: &Table, name: &str) -> mlua::Result<()> {
    let function =
        lua.create_function(|lua, (data, form): (LuaString, Option<String>)| present(lua, &D::digest(data.as_bytes()), form.as_deref()))?;
    module.raw_set(name, function)
}

/// Bytes in the form asked for: "hex" (the default), "base64" or "raw".
fn present(lua: &Lua, bytes: &[u8], form: Option<&str>) -> mlua::Result<LuaString> {
    match form {
        None | Some("hex") => lua.create_string(hex(bytes)),
        Some("base64") => lua.create_string(STANDARD.encode(bytes)),
        Some("raw") => lua.create_string(bytes),
        Some(other) => Err(fail(format_args!("no form named {other:?}: hex, base64 or raw"))),
    }
}

fn hmac(lua: &Lua, (algorithm, key, data, form): (String, LuaString, LuaString, Option<String>)) -> mlua::Result<LuaString> {
    let (key, data) = (key.as_bytes(), data.as_bytes());
    let bytes = match algorithm.as_str() {
        "md5" => mac::<Hmac<Md5>>(&key, &data)?,
        "sha1" => mac::<Hmac<Sha1>>(&key, &data)?,
        "sha256" => mac::<Hmac<Sha256>>(&key, &data)?,
        "sha512" => mac::<Hmac<Sha512>>(&key, &data)?,
        other => return Err(fail(format_args!("no algorithm named {other:?}: md5, sha1, sha256 or sha512"))),
    };
    present(lua, &bytes, form.as_deref())
}

fn mac<M: Mac + KeyInit>(key: &BorrowedBytes, data: &BorrowedBytes) -> mlua::Result<Vec<u8>> {
    let mut mac = <M as KeyInit>::new_from_slice(key).map_err(fail)?;
    mac.update(data);
    Ok(mac.finalize().into_bytes().to_vec())
}

fn random_bytes(count: usize) -> mlua::Result<Vec<u8>> {
    if count > MAX_RANDOM {
        return Err(fail(format_args!("at most {MAX_RANDOM} random bytes at once")));
    }
    let mut bytes = vec![0; count];
    getrandom::fill(&mut bytes).map_err(fail)?;
    Ok(bytes)
}

fn random(lua: &Lua, module: &Table) -> mlua::Result<()> {
    module.raw_set("random_bytes", lua.create_function(|lua, count: usize| lua.create_string(random_bytes(count)?))?)?;
    module.raw_set("random_hex", lua.create_function(|lua, count: usize| lua.create_string(hex(&random_bytes(count)?)))?)
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).map(char::from).collect()
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

fn encodings(lua: &Lua, module: &Table) -> mlua::Result<()> {
    module.raw_set("hex_encode", lua.create_function(|lua, data: LuaString| lua.create_string(hex(&data.as_bytes())))?)?;
    module.raw_set(
        "hex_decode",
        lua.create_function(|lua, text: LuaString| lua.create_string(unhex(&text.as_bytes()).ok_or_else(|| fail("not hexadecimal"))?))?,
    )?;
    module.raw_set(
        "base64_encode",
        lua.create_function(|lua, (data, variant): (LuaString, Option<String>)| {
            let text = match variant.as_deref() {
                None | Some("standard") => STANDARD.encode(data.as_bytes()),
                Some("url") => URL_SAFE_NO_PAD.encode(data.as_bytes()),
                Some(other) => return Err(fail(format_args!("no base64 variant named {other:?}: standard or url"))),
            };
            lua.create_string(text)
        })?,
    )?;
    module.raw_set(
        "base64_decode",
        lua.create_function(|lua, text: LuaString| {
            let text = text.as_bytes();
            let url = text.iter().any(|byte| matches!(byte, b'-' | b'_')) || !text.len().is_multiple_of(4);
            let bytes = if url { URL_SAFE_NO_PAD.decode(text.trim_ascii_end_matches_padding()) } else { STANDARD.decode(&*text) };
            lua.create_string(bytes.map_err(|error| fail(format_args!("not base64: {error}")))?)
        })?,
    )?;
    module.raw_set(
        "equal",
        lua.create_function(|_, (one, other): (LuaString, LuaString)| Ok(bool::from(one.as_bytes().ct_eq(&other.as_bytes()))))?,
    )
}

/// The padding that some writers of the URL variant put behind it all the same.
trait TrimPadding {
    fn trim_ascii_end_matches_padding(&self) -> &[u8];
}

impl TrimPadding for BorrowedBytes {
    fn trim_ascii_end_matches_padding(&self) -> &[u8] {
        let end = self.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
        &self[..end]
    }
}

fn passwords(lua: &Lua, module: &Table) -> mlua::Result<()> {
    let hash = lua.create_async_function(|_, password: LuaString| async move {
        let password = checked_password(&password)?;
        let hashed = blocking::unblock(move || Argon2::default().hash_password(&password).map(|hash| hash.to_string()));
        hashed.await.map_err(fail)
    })?;
    let verify = lua.create_async_function(|_, (password, hash): (LuaString, String)| async move {
        let password = checked_password(&password)?;
        blocking::unblock(move || match Argon2::default().verify_password(&password, hash.as_str()) {
            Ok(()) => Ok(true),
            Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
            Err(error) => Err(error.to_string()),
        })
        .await
        .map_err(fail)
    })?;
    module.raw_set("password_hash", hash)?;
    module.raw_set("password_verify", verify)
}

fn checked_password(password: &LuaString) -> mlua::Result<Vec<u8>> {
    let password = password.as_bytes();
    if password.len() > MAX_PASSWORD {
        return Err(fail(format_args!("a password may have {MAX_PASSWORD} bytes")));
    }
    Ok(password.to_vec())
}
