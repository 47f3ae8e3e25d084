"""What is scraped and where alerts go: the same with and without the Prometheus operator, and the same as in the other manifests."""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml

from attune.api import labels
from attune.desired import serving
from attune.telemetry.webhook import PATH
from debian_packages import program
from versions import a_retriever

MANIFESTS = Path(__file__).parents[3] / "manifests"
MONITORING = MANIFESTS / "monitoring"


def read(name):
    return yaml.safe_load((MONITORING / name).read_text())


def operator(kind):
    found = (d for path in MANIFESTS.glob("*.yaml") for d in yaml.safe_load_all(path.read_text()))
    return next(d for d in found if d["kind"] == kind and d["metadata"].get("name") == "attune-operator")


def serving_ports():
    manifests = serving.workload(a_retriever(), "attune-serving:test")
    (deployment,) = (m for m in manifests if m["kind"] == "Deployment")
    return deployment["spec"]["template"]["spec"]["containers"][0]["ports"]


def test_alertmanager_takes_the_route(tmp_path):
    amtool = program("prometheus-alertmanager").with_name("amtool")
    done = subprocess.run(
        [amtool, "check-config", MONITORING / "alertmanager.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    command = [amtool, "config", "routes", "test", f"--config.file={MONITORING / 'alertmanager.yml'}"]
    for given, receivers in (("attune_rollback=true", "attune,people"), ("severity=warning", "people")):
        routed = subprocess.run([*command, given], capture_output=True, text=True, check=True)
        assert routed.stdout.strip() == receivers


def test_prometheus_takes_the_configuration(promtool, tmp_path):
    config = read("prometheus.yml")
    for job in config["scrape_configs"]:  # Debian's build has no service discovery of Kubernetes
        roles = {found["role"] for found in job.pop("kubernetes_sd_configs")}
        assert roles == {"pod"}
        job["static_configs"] = [{"targets": ["127.0.0.1:1"]}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    (tmp_path / "rules.yml").write_text((MONITORING / "rules.yml").read_text())
    done = promtool("check", "config", tmp_path / "prometheus.yml")
    assert done.returncode == 0, done.stdout


def test_serving_pods_and_operator_are_scraped_by_what_they_are():
    pods = read("podmonitor.yaml")["spec"]
    assert pods["selector"]["matchLabels"] == {labels.COMPONENT: labels.SERVING}
    assert pods["namespaceSelector"] == {"any": True}
    assert [e["port"] for e in pods["podMetricsEndpoints"]] == [p["name"] for p in serving_ports()]
    service = operator("Service")
    monitor = read("servicemonitor.yaml")["spec"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert [e["port"] for e in monitor["endpoints"]] == [p["name"] for p in service["spec"]["ports"]]
    jobs = {job["job_name"]: job for job in read("prometheus.yml")["scrape_configs"]}
    selectors = {name: job["kubernetes_sd_configs"][0]["selectors"][0]["label"] for name, job in jobs.items()}
    assert selectors == {
        "attune-serving": f"{labels.COMPONENT}={labels.SERVING}",
        "attune-operator": "app.kubernetes.io/name=attune-operator",
    }


def test_both_ways_scrape_as_often_and_add_the_same_label():
    (pods,) = read("podmonitor.yaml")["spec"]["podMetricsEndpoints"]
    jobs = {job["job_name"]: job for job in read("prometheus.yml")["scrape_configs"]}
    job = jobs["attune-serving"]
    assert (pods["interval"], pods["scrapeTimeout"]) == (job["scrape_interval"], job["scrape_timeout"]) == ("5s", "4s")
    label = labels.RETRIEVER.replace(".", "_").replace("/", "_")
    meta = f"__meta_kubernetes_pod_label_{label}"
    assert pods["relabelings"] == [{"sourceLabels": [meta], "targetLabel": "retriever"}]
    assert {"source_labels": [meta], "target_label": "retriever"} in job["relabel_configs"]


def test_both_ways_route_alike():
    config = read("alertmanager.yml")
    route, hook = config["route"]["routes"][0], config["receivers"][0]["webhook_configs"][0]
    spec = read("alertmanagerconfig.yaml")["spec"]
    theirs, their_hook = spec["route"], spec["receivers"][0]["webhookConfigs"][0]
    (matcher,) = theirs["matchers"]
    assert route["matchers"] == [f'{matcher["name"]}="{matcher["value"]}"']
    names = {
        "group_by": "groupBy",
        "group_wait": "groupWait",
        "group_interval": "groupInterval",
        "repeat_interval": "repeatInterval",
    }
    assert {k: route[k] for k in names} == {k: theirs[v] for k, v in names.items()}
    assert (hook["url"], hook["send_resolved"], hook["max_alerts"]) == (
        their_hook["url"],
        their_hook["sendResolved"],
        their_hook["maxAlerts"],
    )


def test_alerts_go_to_the_webhook_of_the_operators_service():
    service = operator("Service")
    port = service["spec"]["ports"][0]["port"]
    hook = read("alertmanager.yml")["receivers"][0]["webhook_configs"][0]
    assert hook["url"] == f"http://attune-operator.attune-system.svc:{port}{PATH}"
    assert hook["http_config"]["authorization"].keys() == {"type", "credentials_file"}
