// A task for InfluxDB 2 that posts a firing to Catcher while the wind is strong.
//
// Catcher's own rules are the better place for thresholds: they are tested, explained and saved.
// This is for data that only an InfluxDB has. The rule that waits for it is wind-flux.yaml.
//
//   influx secret update --key CATCHER_TOKEN --value ...       # api: {post_tokens: {flux: ...}}
//   influx task create --file wind.flux
//
// Adapt the four lines below. Without a token in Catcher's settings leave the header out.

import "http"
import "influxdata/influxdb/secrets"
import "json"

option task = {name: "catcher wind", every: 1m, offset: 15s}

bucket = "efd"
url = "http://127.0.0.1:8787/http/flux-wind"
token = secrets.get(key: "CATCHER_TOKEN")
limit = 8.0

from(bucket: bucket)
    |> range(start: -5m)
    |> filter(fn: (r) => r._measurement == "lsst.sal.ESS.airFlow")
    |> filter(fn: (r) => r._field == "speed" or r._field == "salIndex")
    |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
    |> filter(fn: (r) => r.salIndex == 301)
    |> group()
    |> reduce(
        identity: {count: 0, sum: 0.0, peak: 0.0, until: 1970-01-01T00:00:00Z},
        fn: (r, accumulator) => ({
            count: accumulator.count + 1,
            sum: accumulator.sum + r.speed,
            peak: if r.speed > accumulator.peak then r.speed else accumulator.peak,
            until: if r._time > accumulator.until then r._time else accumulator.until,
        }),
    )
    |> filter(fn: (r) => r.count > 0 and r.sum > limit * float(v: r.count))
    |> map(
        fn: (r) => ({r with
            status: http.post(
                url: url,
                headers: {"Content-Type": "application/json", "Authorization": "Bearer " + token},
                data: json.encode(v: {
                    speed: r.sum / float(v: r.count),
                    peak: r.peak,
                    samples: r.count,
                    until: r.until,
                    salIndex: 301,
                    limit: limit,
                }),
            ),
        }),
    )
    |> yield(name: "posted")
