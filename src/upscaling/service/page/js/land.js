// Land and countries of world-atlas. Its rings jump from 180 to -180 degrees, and a map would fill what lies between.
const kept = {};

function continuous(ring) {
  let turn = 0;
  const made = ring.map(([x, y], place) => {
    const step = place === 0 ? 0 : x - ring[place - 1][0];
    if (Math.abs(step) > 180) turn -= 360 * Math.sign(step);
    return [x + turn, y];
  });
  const [first, last] = [made[0], made.at(-1)];
  if (Math.abs(last[0] - first[0]) < 180) return made;
  const pole = 90 * Math.sign(first[1]); // it goes around a pole
  return [...made, [last[0], pole], [first[0], pole], first];
}

const middle = (ring) => (Math.min(...ring.map(([x]) => x)) + Math.max(...ring.map(([x]) => x))) / 2;

// Where `near` is: a ring that begins at -180 may lie a whole turn away from its own lakes.
function turned(ring, near) {
  const turns = 360 * Math.round((near - middle(ring)) / 360);
  return ring.map(([x, y]) => [x + turns, y]);
}

function parts({ type, coordinates }) {
  return (type === "MultiPolygon" ? coordinates : [coordinates]).map(([outer, ...lakes]) => {
    const land = turned(continuous(outer), 0);
    return [land, ...lakes.map((lake) => turned(continuous(lake), middle(land)))];
  });
}

async function load(name) {
  const [{ feature }, topology] = await Promise.all([
    import("../vendor/topojson/index.js"),
    fetch(`/page/vendor/${name}-110m.json`).then((answer) => answer.json()),
  ]);
  const found = feature(topology, topology.objects[name]);
  return found.features.map((one) => ({ name: one.properties.name, geometry: { type: "MultiPolygon", coordinates: parts(one.geometry) } }));
}

// [{ name, geometry }, …] of `land` or `countries`.
export const outlines = (name) => (kept[name] ??= load(name));
