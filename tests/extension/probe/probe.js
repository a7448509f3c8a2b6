// Proves that the harness works: fetches, hears of permissions, counts how often it was started.
const events = [];

const tell = (name, detail) => events.push({ name, detail });

// Chromium refuses a webRequest listener while the extension may see no site at all.
function watch() {
  const told = (details) => tell("completed", [details.url, details.ip]);
  chrome.webRequest.onCompleted.addListener(told, { urls: ["http://*/*", "https://*/*"] });
}

chrome.permissions.onAdded.addListener((granted) => {
  tell("added", granted.origins);
  watch();
});
chrome.permissions.onRemoved.addListener((granted) => {
  tell("removed", granted.origins);
  chrome.storage.local.set({ removed: granted.origins });
});

async function read(url) {
  try {
    const answer = await fetch(url, { credentials: "omit", cache: "no-store" });
    return { status: answer.status, text: await answer.text() };
  } catch (error) {
    return { error: String(error) };
  }
}

chrome.runtime.onMessage.addListener((message, _sender, reply) => {
  if (message.ask === "fetch") read(message.url).then(reply);
  if (message.ask === "events") reply(events);
  if (message.ask === "fail") {
    setTimeout(() => {
      throw new Error("thrown");
    });
    Promise.reject(new Error("rejected"));
    console.error("said");
    reply(true);
  }
  return true;
});

async function start() {
  const { starts = 0, home } = await chrome.storage.local.get(["starts", "home"]);
  await chrome.storage.local.set({ starts: starts + 1 });
  if (home) await read(`${home}?start=${starts + 1}`);
}

// Without this listener Firefox does not start a background page together with the browser.
chrome.runtime.onStartup.addListener(() => tell("startup"));

chrome.alarms.create("again", { periodInMinutes: 0.5 });
chrome.alarms.onAlarm.addListener(async () => {
  const { home } = await chrome.storage.local.get("home");
  if (home) await read(`${home}?alarm`);
});
start();
