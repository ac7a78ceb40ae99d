use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command},
    thread,
    time::Duration,
};

/// An nginx that caches every response that it may store. It ends with this process.
pub struct Nginx {
    process: Child,
    pub addr: SocketAddr,
}

impl Nginx {
    pub fn before(site: SocketAddr) -> Self {
        let prefix = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/proof/nginx");
        // An earlier run can have left cached responses.
        let _ = fs::remove_dir_all(&prefix);
        fs::create_dir_all(&prefix).unwrap();
        let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        fs::write(prefix.join("nginx.conf"), configuration(addr, site)).unwrap();

        // nginx must end with this process in every case.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nginx", "-e", "error.log", "-c", "nginx.conf", "-p"]);
        let process = command.arg(prefix).spawn().expect("setpriv, of util-linux");
        let mut nginx = Self { process, addr };
        nginx.wait_until_it_listens();
        nginx
    }

    fn wait_until_it_listens(&mut self) {
        for _ in 0..1000 {
            if let Some(status) = self.process.try_wait().unwrap() {
                panic!("nginx did not start ({status}); see target/proof/nginx/error.log");
            }
            if TcpStream::connect(self.addr).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("nginx does not listen");
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns the version, such as `nginx/1.22.1`.
pub fn version() -> String {
    let output = Command::new("nginx").arg("-v").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    said.trim().trim_start_matches("nginx version: ").to_owned()
}

/// Returns a configuration that stores responses of every status, also those without `Cache-Control`.
fn configuration(addr: SocketAddr, site: SocketAddr) -> String {
    format!(
        "daemon off;
master_process off;
pid nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    scgi_temp_path scgi;
    uwsgi_temp_path uwsgi;
    proxy_cache_path cache keys_zone=answers:1m;
    server {{
        listen {addr};
        location / {{
            proxy_pass http://{site};
            proxy_cache answers;
            proxy_cache_valid any 1m;
            add_header X-Cache $upstream_cache_status always;
        }}
    }}
}}
"
    )
}
