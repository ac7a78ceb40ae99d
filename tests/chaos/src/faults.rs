//! The servers, the proxies and the processes of the replicas, and random faults in them.

use std::{
    env, fs,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::sleep,
    time::Duration,
};

use tower_api_key_test_servers::{Folder, Mode, Postgres, Program, Proxy, RedisServer, wait_for};

use crate::oracle::{Ground, REPLICAS, Replica};

pub const DATABASE: &str = "keys";

/// All servers and processes of a run.
pub struct Site {
    pub postgres: Postgres,
    pub redis: RedisServer,
    ways: Vec<Way>,
    replicas: Vec<Option<Program>>,
    logs: PathBuf,
    mistake: String,
    folder: Folder,
}

/// The proxies of a replica.
struct Way {
    postgres: Proxy,
    redis: Proxy,
}

impl Site {
    pub fn start(postgres: Postgres, mistake: &str) -> Self {
        let redis = RedisServer::start();
        let way = |_| Way {
            postgres: Proxy::start(postgres.address()),
            redis: Proxy::start(redis.address()),
        };
        let ways = (0..REPLICAS).map(way).collect();
        let logs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/logs");
        fs::create_dir_all(&logs).unwrap();
        let (mistake, folder) = (mistake.to_owned(), Folder::new("chaos"));
        Self { postgres, redis, ways, replicas: Vec::new(), logs, mistake, folder }
    }

    pub fn start_replicas(&mut self, replicas: &[Replica]) {
        self.replicas = replicas.iter().map(|replica| Some(self.spawn(replica))).collect();
    }

    fn spawn(&self, replica: &Replica) -> Program {
        let way = &self.ways[replica.number];
        let log = self.logs.join(format!("replica-{}.log", replica.number));
        // The log of a process that was killed stays.
        if replica.view().instance == 1 {
            _ = fs::remove_file(&log);
        }
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["replica", &replica.port.to_string()]);
        command.arg(format!("postgres://postgres@{}/{DATABASE}", way.postgres.address()));
        command.arg(format!("redis://{}", way.redis.address()));
        command.args([if replica.is_cached { "cached" } else { "mirrored" }, &self.mistake]);
        let log = fs::File::options().create(true).append(true).open(log).unwrap();
        command.stdout(Stdio::null()).stderr(log);
        Program::start(&mut command, &self.folder.join(replica.number.to_string()))
    }

    /// Causes faults one after another until the end, and leaves all servers and processes running.
    pub fn run(mut self, ground: &Ground, ends: &AtomicBool, mut random: fastrand::Rng) -> Self {
        while !ends.load(SeqCst) {
            // Times without faults show the times of revocations without faults.
            wait(ends, random.u64(1_000..4_000));
            if ends.load(SeqCst) {
                break;
            }
            let lasts = random.u64(300..9_000);
            let one = random.usize(..REPLICAS);
            match random.u8(..21) {
                0..=9 => {
                    self.network(ground, &ground.replicas[one..=one], one, lasts, random.u8(..5))
                }
                10 => self.pause_postgres(ground, lasts),
                11..=12 => self.kill_postgres(ground, lasts),
                13..=14 => self.terminate(ground),
                15 => {
                    count(ground, "Redis: stopped and continued");
                    self.redis.program().pause();
                    sleep(Duration::from_millis(lasts));
                    self.redis.program().resume();
                }
                16 => {
                    count(ground, "Redis: killed and started");
                    self.redis.kill();
                    sleep(Duration::from_millis(lasts));
                    self.redis.start_again();
                }
                17 => self.redis_network(ground, one, lasts, random.u8(..4)),
                18 => {
                    count(ground, "Redis: all connections killed");
                    self.redis.command(&["CLIENT", "KILL", "TYPE", "normal"]);
                }
                _ => self.kill_replica(ground, one, lasts),
            }
            // One fault at a time, so that each has one cause.
            wait_for("the recovery of all replicas", || {
                ground.replicas.iter().all(|it| it.view().cause.is_none()) || ends.load(SeqCst)
            });
        }
        self
    }

    fn network(&self, ground: &Ground, replicas: &[Replica], one: usize, lasts: u64, kind: u8) {
        let proxy = &self.ways[one].postgres;
        let (cause, mode) = KINDS[usize::from(kind)];
        during(ground, replicas, cause, || break_way(proxy, mode, lasts));
    }

    fn redis_network(&self, ground: &Ground, one: usize, lasts: u64, kind: u8) {
        count(ground, "Redis: network of one replica");
        break_way(&self.ways[one].redis, KINDS[usize::from(kind)].1, lasts);
    }

    fn pause_postgres(&mut self, ground: &Ground, lasts: u64) {
        during(ground, &ground.replicas, "PostgreSQL: stopped and continued", || {
            self.postgres.program().pause();
            sleep(Duration::from_millis(lasts));
            self.postgres.program().resume();
        });
    }

    fn kill_postgres(&mut self, ground: &Ground, lasts: u64) {
        during(ground, &ground.replicas, "PostgreSQL: killed and started", || {
            self.postgres.kill();
            sleep(Duration::from_millis(lasts));
            self.postgres.start_again();
        });
    }

    fn terminate(&self, ground: &Ground) {
        during(ground, &ground.replicas, "PostgreSQL: all connections terminated", || {
            let sql =
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'keys'";
            _ = self.postgres.try_sql("postgres", sql);
        });
    }

    fn kill_replica(&mut self, ground: &Ground, one: usize, lasts: u64) {
        let replica = &ground.replicas[one];
        during(ground, &ground.replicas[one..=one], "replica: killed and started", || {
            replica.killed();
            if let Some(mut program) = self.replicas[one].take() {
                program.kill();
            }
            sleep(Duration::from_millis(lasts / 4));
            self.replicas[one] = Some(self.spawn(replica));
        });
    }
}

#[derive(Clone, Copy)]
enum Break {
    Set(Mode),
    Cut,
    HalfOpen,
}

const KINDS: [(&str, Break); 5] = [
    ("network: stalled", Break::Set(Mode::Stall)),
    ("network: cut", Break::Cut),
    ("network: half-open", Break::HalfOpen),
    ("network: slow", Break::Set(Mode::Slow(Duration::from_millis(40)))),
    ("network: refused", Break::Set(Mode::Refuse)),
];

fn break_way(proxy: &Proxy, kind: Break, lasts: u64) {
    match kind {
        Break::Set(mode) => {
            proxy.set(mode);
            if mode == Mode::Refuse {
                proxy.cut();
            }
            sleep(Duration::from_millis(lasts));
            proxy.set(Mode::Pass);
        }
        Break::Cut => proxy.cut(),
        Break::HalfOpen => proxy.half_open(),
    }
}

/// Causes a fault between replicas and the database.
fn during(ground: &Ground, replicas: &[Replica], cause: &'static str, fault: impl FnOnce()) {
    count(ground, cause);
    replicas.iter().for_each(|replica| replica.disturb(cause));
    fault();
    replicas.iter().for_each(Replica::relieve);
}

fn count(ground: &Ground, cause: &'static str) {
    eprintln!("{cause}");
    *ground.tally.faults.lock().unwrap().entry(cause).or_default() += 1;
}

fn wait(ends: &AtomicBool, millis: u64) {
    for _ in 0..millis / 50 {
        if !ends.load(SeqCst) {
            sleep(Duration::from_millis(50));
        }
    }
}

/// Runs the faults in a thread of their own, because the servers block.
pub fn spawn(
    site: Site,
    ground: Arc<Ground>,
    ends: Arc<AtomicBool>,
    random: fastrand::Rng,
) -> std::thread::JoinHandle<Site> {
    std::thread::spawn(move || site.run(&ground, &ends, random))
}
