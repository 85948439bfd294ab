//! A server of our own making, which knows two models and does with inferences what a test says.

use serde_json::{Value, json};
use shm_tests::triton::{FakeReply, FakeRequest, FakeServer};
use shm_triton::{ClientConfig, TritonClient};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What it does with an inference, of which it is given the JSON.
pub(crate) type Act = Box<dyn FnMut(&Known, &Value) -> FakeReply + Send>;

/// The server.
pub(crate) struct Pretender {
    server: FakeServer,
    pub known: Arc<Known>,
}

/// What it knows.
pub(crate) struct Known {
    version: String,
    pub regions: Mutex<BTreeMap<String, File>>,
    pub unregistered: Mutex<Vec<String>>,
    act: Mutex<Option<Act>>,
    /// Answers in place of the usual, by the end of the path.
    pub instead: Mutex<BTreeMap<&'static str, FakeReply>>,
}

impl Pretender {
    pub(crate) fn new(version: &str) -> Pretender {
        let known = Arc::new(Known {
            version: version.to_owned(),
            regions: Mutex::default(),
            unregistered: Mutex::default(),
            act: Mutex::new(None),
            instead: Mutex::default(),
        });
        let theirs = known.clone();
        let server = FakeServer::start(move |request| theirs.answer(request)).unwrap();
        Pretender { server, known }
    }

    pub(crate) fn client(&self) -> TritonClient {
        // Replies are short here, so that a long one can be refused without having the memory.
        let config = ClientConfig::new(self.server.url()).sweep(false).max_reply(16 << 20);
        config.connect().unwrap()
    }

    /// Does this with inferences from now on; none is the usual, an echo.
    pub(crate) fn act(&self, act: Option<Act>) {
        *self.known.act.lock().unwrap() = act;
    }
}

impl Known {
    fn answer(&self, request: &FakeRequest) -> FakeReply {
        let path = request.path.as_str();
        let instead = self.instead.lock().unwrap();
        if let Some((_, reply)) = instead.iter().find(|(end, _)| path.ends_with(**end)) {
            return reply.clone();
        }
        drop(instead);
        let body = || serde_json::from_slice::<Value>(&request.body).unwrap();
        let tensor = |name: &str, datatype: &str, shape: Value| json!([{"name": name, "datatype": datatype, "shape": shape}]);
        match path {
            "/v2" => good(json!({"name": "triton", "version": self.version})),
            "/v2/models/echo" => good(json!({
                "name": "echo",
                "inputs": tensor("INPUT0", "FP32", json!([-1, 16])),
                "outputs": tensor("OUTPUT0", "FP32", json!([-1, 16])),
            })),
            "/v2/models/text" => good(json!({
                "name": "text",
                "inputs": tensor("INPUT0", "BYTES", json!([-1])),
                "outputs": tensor("OUTPUT0", "BYTES", json!([-1])),
            })),
            "/v2/models/echo/config" => good(json!({"name": "echo", "max_batch_size": 8})),
            "/v2/models/text/config" => good(json!({"name": "text", "max_batch_size": 0})),
            "/v2/systemsharedmemory/status" => good(json!([])),
            _ if path.ends_with("/infer") => {
                let body = body();
                if let Some(ms) = body["parameters"]["scribble_ms"].as_u64() {
                    self.scribble(&body, Duration::from_millis(ms));
                }
                let mut act = self.act.lock().unwrap();
                match &mut *act {
                    Some(act) => act(self, &body),
                    None => self.echo(&body),
                }
            }
            _ if path.ends_with("/register") => {
                let key = body()["key"].as_str().unwrap().to_owned();
                let object = format!("/dev/shm{key}");
                let file = OpenOptions::new().read(true).write(true).open(object).unwrap();
                self.regions.lock().unwrap().insert(region(path), file);
                good(json!({}))
            }
            _ if path.ends_with("/unregister") => {
                let name = region(path);
                self.regions.lock().unwrap().remove(&name);
                self.unregistered.lock().unwrap().push(name);
                good(json!({}))
            }
            _ => FakeReply::json(404, r#"{"error": "no such thing"}"#),
        }
    }

    /// Copies the input to the output, and says so.
    pub(crate) fn echo(&self, body: &Value) -> FakeReply {
        let from = Place::of(&body["inputs"][0]);
        let mut bytes = vec![0; from.len];
        self.regions.lock().unwrap()[&from.region].read_exact_at(&mut bytes, from.at).unwrap();
        self.write(body, &bytes);
        good(json!({"model_name": "echo", "model_version": "1", "outputs": [{
            "name": "OUTPUT0",
            "datatype": body["inputs"][0]["datatype"],
            "shape": body["inputs"][0]["shape"],
        }]}))
    }

    /// Writes where the output belongs, again and again, as a model may until it answers.
    fn scribble(&self, body: &Value, time: Duration) {
        let pattern = vec![0xAB; Place::of(&body["outputs"][0]).len];
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.write(body, &pattern);
        }
    }

    /// Writes bytes where the output belongs.
    pub(crate) fn write(&self, body: &Value, bytes: &[u8]) {
        let to = Place::of(&body["outputs"][0]);
        self.regions.lock().unwrap()[&to.region].write_all_at(bytes, to.at).unwrap();
    }

    /// The file of the only region, with its name.
    pub(crate) fn only_region(&self) -> (String, File) {
        let regions = self.regions.lock().unwrap();
        assert_eq!(regions.len(), 1);
        let (name, file) = regions.first_key_value().unwrap();
        (name.clone(), file.try_clone().unwrap())
    }
}

pub(crate) fn good(body: Value) -> FakeReply {
    FakeReply::json(200, body.to_string())
}

/// The name in `/v2/systemsharedmemory/region/NAME/...`.
fn region(path: &str) -> String {
    path.split('/').nth(4).unwrap().to_owned()
}

struct Place {
    region: String,
    at: u64,
    len: usize,
}

impl Place {
    fn of(tensor: &Value) -> Place {
        let parameters = &tensor["parameters"];
        Place {
            region: parameters["shared_memory_region"].as_str().unwrap().to_owned(),
            at: parameters["shared_memory_offset"].as_u64().unwrap_or(0),
            len: parameters["shared_memory_byte_size"].as_u64().unwrap() as usize,
        }
    }
}
