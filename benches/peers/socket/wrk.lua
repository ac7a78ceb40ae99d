-- The key is read from the environment, since all users of a machine can read arguments.
wrk.headers["x-api-key"] = os.getenv("API_KEY")

-- One line for `over_socket.py`: requests, microseconds, p50 and p99 in microseconds, errors.
function done(summary, latency)
    local errors = summary.errors
    local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
    local p50, p99 = latency:percentile(50), latency:percentile(99)
    io.write(string.format("%d %d %d %d %d\n", summary.requests, summary.duration, p50, p99, failed))
end
