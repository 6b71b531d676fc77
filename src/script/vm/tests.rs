use std::time::{Duration, Instant};

use super::*;
use crate::script::fault::{Fault, FaultKind};
use crate::script::source::Source;

fn vm(memory: usize, step: Duration) -> Vm {
    let vm = Vm::new("test", &Limits { memory, step, ..Limits::default() }, false).expect("a VM");
    vm.seal().expect("sealed");
    vm
}

fn run<R: mlua::FromLuaMulti>(vm: &Vm, source: &str) -> mlua::Result<R> {
    vm.step(StepKind::Evaluate, b"test", |lua| {
        let function = lua.load(source).set_name("@test/main.luau").into_function()?;
        lua.create_thread(function)?.resume(())
    })
}

fn fault(error: &mlua::Error) -> Fault {
    Fault::new(error, "test", &Source::memory::<&str, &str>([]))
}

/// Each never ends by itself.
const RUNAWAYS: &[(&str, &str)] = &[
    ("loop", "while true do end"),
    ("pcall", "while true do pcall(function() while true do end end) end"),
    ("xpcall", "while true do xpcall(function() while true do end end, function() while true do end end) end"),
    ("pattern", "return tostring(string.find(string.rep('a',100000), string.rep('a*',50)..'b'))"),
    ("sort", "local t={} for i=1,1e5 do t[i]=i end table.sort(t,function(a,b) while true do end end)"),
    ("metamethod", "local t=setmetatable({},{__index=function() while true do end end}) return t.x"),
    ("gsub", "return (string.gsub(string.rep('a',1000),'a',function() while true do end end))"),
    ("coroutine", "while true do coroutine.wrap(function() while true do end end)() end"),
    ("resume", "local function f() while true do coroutine.resume(coroutine.create(f)) end end f()"),
    ("tostring", "return tostring(setmetatable({},{__tostring=function() while true do end end}))"),
    ("error object", "error(setmetatable({},{__tostring=function() while true do end end}))"),
    ("concat", "local s='x' while true do s='x' for i=1,20 do s=s..s end end"),
    ("nested pcall", "local function f() while true do pcall(pcall, f) end end f()"),
];

#[test]
fn runaways_stop_at_the_limit_and_the_vm_lives_on() {
    let limit = Duration::from_millis(150);
    let vm = vm(64 << 20, limit);
    for (name, source) in RUNAWAYS {
        let start = Instant::now();
        let error = run::<()>(&vm, source).expect_err(name);
        let took = start.elapsed();
        assert!(took >= limit.checked_sub(Duration::from_millis(20)).unwrap(), "{name}: stopped after {took:?}");
        assert!(took < limit + Duration::from_secs(2), "{name}: stopped after {took:?}");
        assert!(error.to_string().contains("step limit") || *name == "resume", "{name}: {error}");
        assert_eq!(run::<i32>(&vm, "return 1 + 1").expect("usable"), 2, "{name}");
    }
}

#[test]
fn a_loop_stops_within_twenty_milliseconds_of_the_limit() {
    let limit = Duration::from_millis(300);
    let vm = vm(64 << 20, limit);
    // The machine may be busy: one exact stop of a few shows the mechanism's accuracy.
    let best = (0..20)
        .map(|_| {
            let start = Instant::now();
            let error = run::<()>(&vm, "local n = 0\nwhile true do\n n += 1\nend").expect_err("stops");
            let fault = fault(&error);
            assert_eq!(fault.kind, FaultKind::StepLimit);
            assert_eq!(fault.message, "step limit: ran longer than 300 ms without waiting");
            assert!(matches!(fault.place.as_ref().map(|place| place.line), Some(2..=4)), "{fault:?}");
            start.elapsed().abs_diff(limit)
        })
        .find(|off| *off <= Duration::from_millis(20));
    assert!(best.is_some());
}

#[test]
fn short_steps_are_never_stopped() {
    let vm = vm(64 << 20, Duration::from_millis(300));
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(1) {
        assert_eq!(run::<i32>(&vm, "local n = 0 for i = 1, 1000 do n += 1 end return n").expect("fine"), 1000);
    }
}

#[test]
fn memory_and_stack_limits_are_clean_errors() {
    let vm = vm(16 << 20, Duration::from_secs(5));
    let cases = [
        ("tables", "local t={} while true do t[#t+1]=string.rep('x',65536)..#t end"),
        ("rep", "return #string.rep('x', 2^30)"),
        ("buffers", "local t={} while true do t[#t+1]=buffer.create(2^20) end"),
        ("one table", "return #table.create(2^26, 1)"),
        ("doubling", "local s='x' for i=1,100 do s=s..s end"),
        ("closures", "local t={} while true do t[#t+1]=function() return t end end"),
    ];
    for (name, source) in cases {
        let error = run::<()>(&vm, source).expect_err(name);
        assert!(matches!(fault(&error).kind, FaultKind::Memory | FaultKind::Runtime), "{name}: {error}");
        assert_eq!(run::<i32>(&vm, "return 1 + 1").expect("usable"), 2, "{name}");
    }
    let roomy = self::vm(256 << 20, Duration::from_secs(5));
    let error = run::<()>(&roomy, "local function f(n) return 1+f(n+1) end return f(1)").expect_err("too deep");
    assert!(error.to_string().contains("stack overflow"), "{error}");
    let error = run::<()>(&vm, "local t={} while true do t[#t+1]=string.rep('x',65536)..#t end").expect_err("memory");
    assert_eq!(fault(&error).message, "out of memory: the application's memory limit is reached");
    assert!(
        run::<bool>(&vm, "local ok = pcall(function() local t={} while true do t[#t+1]=string.rep('x',65536)..#t end end) return not ok")
            .expect("caught")
    );
}

#[test]
fn the_globals_are_sealed_and_the_dangerous_ones_are_gone() {
    let vm = vm(16 << 20, Duration::from_secs(5));
    for name in ["loadstring", "require", "getfenv", "setfenv", "io", "package", "dofile", "load", "collectgarbage"] {
        assert!(run::<bool>(&vm, &format!("return {name} == nil")).expect("runs"), "{name}");
    }
    for name in ["execute", "remove", "rename", "getenv", "exit", "tmpname"] {
        assert!(run::<bool>(&vm, &format!("return os.{name} == nil")).expect("runs"), "os.{name}");
    }
    for source in ["string.rep = nil", "coroutine.resume = nil", "getmetatable('').__index = nil", "math.pi = 3"] {
        assert!(run::<()>(&vm, source).is_err(), "{source}");
    }
    run::<()>(&vm, "pcall = nil answer = 42").expect("globals of the script's own");
    assert_eq!(run::<i32>(&vm, "return answer").expect("kept"), 42);
}

#[test]
fn errors_carry_their_place_and_their_calls() {
    let vm = vm(16 << 20, Duration::from_secs(5));
    let error = run::<()>(&vm, "local function inner()\n  error('broken')\nend\nlocal function outer()\n  inner()\nend\nouter()")
        .expect_err("raises");
    let fault = fault(&error);
    assert_eq!(fault.with_trace(), "main.luau:2: broken\n    at main.luau:2 in inner\n    at main.luau:5 in outer\n    at main.luau:7");
}

#[test]
fn native_errors_are_caught_as_strings_with_a_place() {
    let vm = Vm::new("test", &Limits::default(), false).expect("a VM");
    let fail = vm
        .lua()
        .create_function(|_, ()| -> mlua::Result<()> { Err(mlua::Error::runtime("net: refused (127.0.0.1:1)")) })
        .expect("a function");
    vm.lua().globals().set("fail", fail).expect("set");
    vm.seal().expect("sealed");
    let caught = "\nlocal ok, e = pcall(function()\n  fail()\nend)\nassert(not ok)\nreturn e";
    assert_eq!(run::<String>(&vm, caught).expect("caught"), "test/main.luau:3: net: refused (127.0.0.1:1)");
    let handled = "local _, e = xpcall(function() fail() end, function(e) return 'handled ' .. e end) return e";
    assert_eq!(run::<String>(&vm, handled).expect("caught"), "handled test/main.luau:1: net: refused (127.0.0.1:1)");
    let resumed = "local _, e = coroutine.resume(coroutine.create(function() fail() end)) return e";
    assert_eq!(run::<String>(&vm, resumed).expect("caught"), "test/main.luau:1: net: refused (127.0.0.1:1)");
    let table = "local _, e = pcall(error, { code = 7 }) return e.code";
    assert_eq!(run::<i32>(&vm, table).expect("caught"), 7);
}

#[test]
fn coroutines_of_the_script_may_wait() {
    let vm = Vm::new("test", &Limits::default(), false).expect("a VM");
    let wait = vm
        .lua()
        .create_async_function(|_, value: i32| async move {
            for _ in 0..3 {
                futures_lite::future::yield_now().await;
            }
            Ok((value, value * 2, value * 3, value * 4))
        })
        .expect("a function");
    let fail = vm
        .lua()
        .create_async_function(|_, ()| async move {
            futures_lite::future::yield_now().await;
            Err::<(), _>(mlua::Error::runtime("late"))
        })
        .expect("a function");
    vm.lua().globals().set("wait", wait).expect("set");
    vm.lua().globals().set("fail", fail).expect("set");
    vm.seal().expect("sealed");
    let source = r"
        local log = {}
        local function note(...) table.insert(log, table.concat({...}, ',')) end
        note(wait(1))
        local next = coroutine.wrap(function(first)
            note('in', first)
            local second = coroutine.yield(wait(first))
            note('in', second)
            note(pcall(fail) and 'fine' or 'failed')
            local inner = coroutine.create(function() return wait(7) end)
            note(tostring(coroutine.resume(inner)), coroutine.status(inner))
            return 'end'
        end)
        note(next(2))
        note(next(5))
        for value in coroutine.wrap(function() for i = 1, 2 do coroutine.yield((wait(i))) end end) do note(value) end
        local ok, e = pcall(coroutine.wrap(function() wait(1) error('inside') end))
        note(tostring(ok), e)
        return table.concat(log, ' ')
    ";
    let function = vm.lua().load(source).set_name("@test/main.luau").into_function().expect("compiles");
    let call = Stepped::new(&vm, StepKind::Evaluate, b"", function.call_async::<String>(()));
    let log = futures_lite::future::block_on(call).expect("runs");
    assert_eq!(log, "1,2,3,4 in,2 2,4,6,8 in,5 failed true,dead end 1 2 false,test/main.luau:17: inside");
}

#[test]
fn waiting_where_luau_cannot_is_an_error_and_no_hang() {
    let vm = Vm::new("test", &Limits::default(), false).expect("a VM");
    let wait = vm
        .lua()
        .create_async_function(|_, ()| async {
            let () = futures_lite::future::yield_now().await;
            Ok(())
        })
        .expect("a function");
    vm.lua().globals().set("wait", wait).expect("set");
    vm.seal().expect("sealed");
    let function = vm.lua().load("string.gsub('a', 'a', function() wait() end)").into_function().expect("compiles");
    let error = futures_lite::future::block_on(function.call_async::<()>(())).expect_err("cannot wait");
    assert!(error.to_string().contains("yield across"), "{error}");
}

#[test]
fn a_dropped_call_releases_what_it_held() {
    use std::rc::Rc;
    let vm = Vm::new("test", &Limits::default(), false).expect("a VM");
    let held = Rc::new(());
    let weak = Rc::downgrade(&held);
    let wait = vm
        .lua()
        .create_async_function(move |_, ()| {
            let held = Rc::clone(&held);
            async move {
                std::future::pending::<()>().await;
                drop(held);
                Ok(())
            }
        })
        .expect("a function");
    vm.lua().globals().set("wait", wait).expect("set");
    vm.seal().expect("sealed");
    for source in ["wait()", "coroutine.wrap(wait)()", "pcall(wait)"] {
        let function = vm.lua().load(source).into_function().expect("compiles");
        let mut call = Box::pin(function.call_async::<()>(()));
        assert!(futures_lite::future::block_on(futures_lite::future::poll_once(&mut call)).is_none());
        assert_eq!(weak.strong_count(), 2, "{source}");
        drop(call);
        vm.lua().gc_collect().expect("collected");
        vm.lua().gc_collect().expect("collected");
        assert_eq!(weak.strong_count(), 1, "{source}");
    }
}
