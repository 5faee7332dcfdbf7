"use strict";
// The forms that change exports. The token goes along in a header, which no page of another site can have a browser send. What
// the target answers is shown as it is.

const CHANGE_KEY = "kvblade-change-token";
let changeToken = sessionStorage.getItem(CHANGE_KEY);
let listed = [];

function showOutcome(verdict, sentence) {
  at("outcome").dataset.verdict = verdict;
  set(at("outcome"), sentence);
}

function showLock() {
  at("unlock").hidden = changeToken !== null;
  at("forms").hidden = changeToken === null;
}

// Exports of one address and VLAN differ in their ports.
const nameOf = (one) => [
  one.address, one.vlan === null ? "" : ` in VLAN ${one.vlan}`, twins(one) ? ` on ${one.ports.join(", ")}` : "", `: ${one.bdev}`,
].join("");
const twins = (one) => listed.filter((other) => other.address === one.address && other.vlan === one.vlan).length > 1;

// Called with each new status. Selections stay, and so does what is typed.
function showChanges(status) {
  at("changes").hidden = !status.changes;
  at("shows-only").hidden = status.changes;
  listed = status.exports.filter((one) => one.state !== "quarantined");
  const names = listed.map(nameOf);
  for (const id of ["limit-export", "delete-export"]) {
    const select = at(id);
    if ([...select.options].map((option) => option.value).join("\n") === names.join("\n")) continue;
    const chosen = select.value;
    select.replaceChildren(...names.map((name) => new Option(name, name)));
    if (names.includes(chosen)) select.value = chosen;
    else if (id === "limit-export") fillLimits();
  }
}

const chosenOf = (form) => listed.find((one) => nameOf(one) === form.elements.export.value);

const LIMITS = ["iops", "bandwidth", "initiator_iops", "initiator_bandwidth"];
function fillLimits() {
  const one = chosenOf(at("limit"));
  for (const name of LIMITS) at("limit").elements[name].value = one?.limits[name] ?? "";
}

// The parameters that name an export.
function addressOf(one) {
  const [shelf, slot] = one.address.split(".").map(Number);
  return one.vlan === null ? { shelf, slot } : { shelf, slot, vlan: one.vlan };
}

async function change(form, path, params, done) {
  const button = form.querySelector("button");
  button.disabled = true;
  showOutcome("", "Waiting for the target.");
  try {
    const answer = await fetch(path, {
      method: "POST",
      headers: { Authorization: `Bearer ${changeToken}`, "Content-Type": "application/json" },
      body: JSON.stringify(params),
      signal: AbortSignal.timeout(40000),
    });
    const text = await answer.text();
    if (answer.ok) {
      showOutcome("ok", done);
      form.reset();
      if (form.id === "limit") fillLimits();
      return;
    }
    if (answer.status === 401) {
      lock();
      throw new Error("That token is refused.");
    }
    let sentence = text.trim();
    try { sentence = JSON.parse(text).error; } catch { /* It is a sentence. */ }
    throw new Error(sentence);
  } catch (error) {
    showOutcome("failure", error.message);
  } finally {
    button.disabled = false;
  }
}

function lock() {
  changeToken = null;
  sessionStorage.removeItem(CHANGE_KEY);
  showLock();
  at("change-token").focus();
}

at("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  changeToken = at("change-token").value.trim();
  sessionStorage.setItem(CHANGE_KEY, changeToken);
  at("change-token").value = "";
  showOutcome("", "");
  showLock();
  at("create-shelf").focus();
});
at("lock").addEventListener("click", () => { showOutcome("", ""); lock(); });
at("limit-export").addEventListener("change", fillLimits);

at("create").addEventListener("submit", (event) => {
  event.preventDefault();
  const { shelf, slot, bdev_name: bdev, vlan, read_only: readOnly } = event.target.elements;
  const params = { shelf: Number(shelf.value), slot: Number(slot.value), bdev_name: bdev.value };
  if (vlan.value !== "") params.vlan = Number(vlan.value);
  if (readOnly.checked) params.read_only = true;
  change(event.target, "exports/create", params, `Export ${params.shelf}.${params.slot} is served.`);
});

at("limit").addEventListener("submit", (event) => {
  event.preventDefault();
  const one = chosenOf(event.target);
  if (!one) return showOutcome("failure", "That export is gone.");
  const params = addressOf(one);
  if (twins(one)) params.port = one.ports[0];
  for (const name of LIMITS) {
    const text = event.target.elements[name].value;
    if (text !== "") params[name] = Number(text);
    // What the next status will have, so that the form keeps it.
    one.limits[name] = text === "" ? null : Number(text);
  }
  const name = nameOf(one);
  change(event.target, "exports/limit", params, `Export ${one.address} has these limits now.`).then(() => {
    at("limit-export").value = name;
    fillLimits();
  });
});

at("delete").addEventListener("submit", (event) => {
  event.preventDefault();
  const one = chosenOf(event.target);
  if (!one) return showOutcome("failure", "That export is gone.");
  if (event.target.elements.confirm.value.trim() !== one.address) {
    showOutcome("failure", `Nothing is deleted: to confirm, type ${one.address}.`);
    return at("delete-confirm").focus();
  }
  const params = addressOf(one);
  if (twins(one)) params.ports = one.ports;
  change(event.target, "exports/delete", params, `Export ${one.address} is deleted.`);
});
showLock();
