// A client that is @xmpp/client's: it logs in, loses its connection, comes back, leaves and comes again.
// It prints what it said and heard, one JSON value in each line, and at the end {"end": "..."}.
import { client, xml } from "@xmpp/client";

const [port, password] = process.argv.slice(2);
const tell = (what) => console.log(JSON.stringify(what));
const id = "d4565fa7-4d72-4749-b3d3-740edbf87770";

function arrive(credentials) {
  const xmpp = client({
    service: `xmpp://localhost:${port}`,
    domain: "montague.lit",
    resource: "Tassel",
    credentials,
    userAgent: xml("user-agent", { id }, [xml("software", {}, "Tassel")]),
  });
  xmpp.timeout = 15_000; // its own PBKDF2 may take longer than its own patience on a busy machine
  xmpp.on("error", (why) => tell({ error: String(why) }));
  xmpp.on("send", (element) => tell({ said: element.toString() }));
  xmpp.on("nonza", (element) => tell({ heard: element.toString() }));
  xmpp.on("stanza", (element) => tell({ heard: element.toString() }));
  xmpp.streamManagement.on("resumed", () => tell({ resumed: true }));
  return xmpp;
}

const happens = (emitter, event, true_ = () => true) =>
  new Promise((resolve) => emitter.on(event, (what) => true_(what) && resolve(what)));

function hears(xmpp, body) {
  return happens(xmpp, "stanza", (stanza) => stanza.getChildText("body") === body);
}

const write = (xmpp, body) =>
  xmpp.send(xml("message", { to: "romeo@montague.lit", type: "chat" }, xml("body", {}, body)));

setTimeout(() => {
  tell({ end: "too late" });
  process.exit(1);
}, 45_000);

// With the password; it gets a token.
let token = null;
const first = arrive({ username: "romeo", password });
first.fast.saveToken = async (given) => {
  token = given;
};
first.fast.fetchToken = async () => token;
const jid = await first.start();
tell({ online: String(jid), token: Boolean(token) });
await first.send(xml("presence"));
const heard = hears(first, "one");
await write(first, "one");
await heard;

// The connection is lost; it comes back by itself, with the token, and resumes.
const resumed = happens(first.streamManagement, "resumed");
first.socket.socket.destroy();
await resumed;
const again = hears(first, "two");
await write(first, "two");
await again;
tell({ again: String(first.jid) });
await first.stop();

// Another run of the same installation: with the token alone.
const second = arrive({ username: "romeo", token });
tell({ online: String(await second.start()) });
await second.send(xml("presence"));
const last = hears(second, "three");
await write(second, "three");
await last;
await second.stop();
tell({ end: "well" });
process.exit(0);
