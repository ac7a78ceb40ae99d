//! Servers from Debian's packages for tests, each in a folder of its own on a free port of the loopback interface.
//!
//! A server and its folder go away when its value is dropped or when the process of the tests ends, even if it is killed.

mod disk;
mod folder;
mod pgbouncer;
mod postgres;
mod program;
mod proxy;
mod redis;

pub use self::{
    disk::Disk,
    folder::Folder,
    pgbouncer::PgBouncer,
    postgres::{Postgres, run_as_server_user},
    program::{Program, free_port, require, wait_for},
    proxy::{Mode, Proxy},
    redis::RedisServer,
};
