// The page is whole without this. With it: what is new is fetched and put in place, and buttons act.
"use strict";

const REST = 1000; // ms between two fetches
const SURE = 5000; // ms in which a second tap counts
const SETTLES = 400; // ms after the page has moved in which a tap may have been meant for something else
const said = document.getElementById("said");
const live = document.getElementById("live");
let held = false; // a finger is down: what it is on must not go away
let wanted = false, fetching = false, fetched = 0, moved = 0;

function say(text, css) {
  said.className = css;
  said.textContent = text;
}

// --- what is new ---

function follow() {
  const events = new EventSource("/api/events?after=" + document.getElementById("main").dataset.last);
  const fresh = () => { wanted = true; refresh(); };
  events.onmessage = fresh;
  events.onopen = () => { live.classList.remove("lost"); fresh(); };
  events.onerror = () => {
    live.classList.add("lost");
    live.textContent = "not connected; as of " + new Date(fetched || Date.now()).toLocaleTimeString();
    if (events.readyState === EventSource.CLOSED) { events.close(); setTimeout(follow, 5 * REST); }
  };
}

function refresh() {
  const early = fetched + REST - Date.now();
  if (!wanted || fetching || held || editing()) return;
  if (early > 0) { setTimeout(refresh, early + 10); return; }
  wanted = false;
  fetching = true;
  const asked = new XMLHttpRequest();
  asked.open("GET", location.href);
  asked.responseType = "document"; // parsed, with nothing in it run
  asked.timeout = 20 * REST;
  asked.onloadend = () => {
    fetching = false;
    fetched = Date.now();
    const found = asked.status === 200 && asked.responseXML && asked.responseXML.getElementById("main");
    if (asked.status === 401) { location.reload(); return; }
    if (!found || held) wanted = true; else put(found, asked.responseXML.title);
    if (wanted) setTimeout(refresh, REST);
  };
  asked.send();
}

function editing() {
  return ["INPUT", "TEXTAREA", "SELECT"].includes(document.activeElement && document.activeElement.tagName);
}

function put(found, title) {
  const old = document.getElementById("main");
  const opened = [...old.querySelectorAll("details")].map((one) => one.open);
  const places = new Map([...old.querySelectorAll(".act")].map((one) => [one.id, one.getBoundingClientRect().top]));
  const focus = document.activeElement && document.activeElement.id;
  const fresh = document.adoptNode(found);
  fresh.querySelectorAll("details").forEach((one, at) => { if (at < opened.length) one.open = opened[at]; });
  old.querySelectorAll(".act").forEach((one) => { // a button that means the same stays the same, also under a finger
    const now = fresh.querySelector("#" + CSS.escape(one.id));
    const pressed = !one.dataset.done && (one.dataset.armed || one.hasAttribute("aria-busy"));
    if (now && (pressed || now.outerHTML === one.outerHTML)) now.replaceWith(one);
  });
  old.replaceWith(fresh);
  document.title = title;
  if (focus && document.getElementById(focus)) document.getElementById(focus).focus({preventScroll: true});
  const stayed = (one) => !places.has(one.id) || Math.abs(one.getBoundingClientRect().top - places.get(one.id)) < 8;
  if (![...fresh.querySelectorAll(".act")].every(stayed)) moved = Date.now();
  live.textContent = "live, " + new Date().toLocaleTimeString();
}

// --- what one can do ---

function pressed(button) {
  if (button.hasAttribute("aria-busy")) return;
  if (!button.classList.contains("back") && Date.now() - moved < SETTLES) {
    say("The page has just moved: tap again.", "");
    return;
  }
  if (button.dataset.sure && !button.dataset.armed) {
    button.dataset.armed = button.textContent;
    button.textContent = button.dataset.sure;
    setTimeout(() => disarm(button), SURE);
    return;
  }
  act(button);
}

function disarm(button) {
  if (button.dataset.armed) button.textContent = button.dataset.armed;
  delete button.dataset.armed;
}

// What it says when it has been done stays: a third tap does nothing until the page shows what came of it.
function rest(button) {
  button.dataset.done = "yes";
  setTimeout(() => { button.removeAttribute("aria-busy"); delete button.dataset.done; }, 3 * REST);
}

async function act(button) {
  disarm(button);
  button.setAttribute("aria-busy", "true");
  say(button.textContent + " ...", "");
  let well = false;
  try {
    const answer = await fetch(button.dataset.where, {
      method: "POST",
      headers: {"Content-Type": "application/json", "X-Ciflow": "1"},
      body: button.dataset.body,
    });
    const told = await answer.json();
    well = answer.ok && !told.exit;
    say((told.lines || [told.error, told.help].filter(Boolean)).join("\n"), well ? "ok" : "failed");
  } catch (error) {
    say("No answer: whether it was done is not known. Look, or press again: a second rollback finds nothing to do.", "failed");
  }
  if (well) rest(button); else button.removeAttribute("aria-busy");
  wanted = true;
  refresh();
}

document.documentElement.classList.add("live");
document.addEventListener("click", (event) => {
  const button = event.target.closest && event.target.closest(".act");
  if (button) pressed(button);
});
let release = 0;
document.addEventListener("pointerdown", () => {
  held = true;
  clearTimeout(release);
  release = setTimeout(() => { held = false; refresh(); }, 3 * REST); // one that is never lifted here
});
for (const kind of ["pointerup", "pointercancel"]) {
  document.addEventListener(kind, () => setTimeout(() => { held = false; refresh(); }, 0));
}
follow();
