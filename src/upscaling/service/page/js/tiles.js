// All tiles of a run as one layer of the map. Geometry lies in one buffer and the states in one small texture, so that
// 100,000 tiles are one draw call and a change of states is one upload; the map's own layers take seconds for that.
import earcut from "../vendor/earcut.js";

const NAMES = ["created", "queued", "running", "finished", "canceled", "failed"];
export const FILL = 0.55;
const BYTES = 16; // of a corner: x, y, tile, and which sides of its triangle are edges of the tile
const ROW = 2048; // tiles in a row of the texture
const PART = 4096; // tiles that are drawn or left out together
const HIGHEST = 85.0511287798;

const VERTEX = `#version 300 es
uniform mat4 u_matrix;
uniform highp usampler2D u_states;
uniform uint u_chosen;
in vec2 a_place;
in uint a_tile;
in vec3 a_sides;
out vec3 v_sides;
flat out uint v_state;
flat out uint v_chosen;
void main() {
  gl_Position = u_matrix * vec4(a_place, 0.0, 1.0);
  v_sides = a_sides;
  v_state = texelFetch(u_states, ivec2(a_tile % ${ROW}u, a_tile / ${ROW}u), 0).r;
  v_chosen = uint(a_tile == u_chosen);
}`;
// Failed tiles are hatched and running ones have a heavy outline: colours alone do not tell everybody.
const FRAGMENT = `#version 300 es
precision highp float;
uniform vec3 u_colours[${NAMES.length}];
uniform float u_fill;
uniform float u_line;
uniform float u_ratio;
uniform vec3 u_ink;
uniform vec3 u_edge;
in vec3 v_sides;
flat in uint v_state;
flat in uint v_chosen;
out vec4 colour;
void main() {
  vec3 pixels = v_sides / max(fwidth(v_sides), vec3(1e-9)) / u_ratio;
  float edge = min(min(pixels.x, pixels.y), pixels.z);
  float width = v_chosen == 1u ? 3.0 : v_state == ${NAMES.indexOf("running")}u ? 2.0 : 1.0;
  // half of a line lies in this tile, and the other half in its neighbour or nowhere
  float line = clamp(width + 0.5 - edge, 0.0, 1.0) * (v_chosen == 1u ? 1.0 : u_line * 0.6);
  vec4 inside = vec4(u_colours[v_state], u_fill);
  if (v_state == ${NAMES.indexOf("failed")}u && mod(gl_FragCoord.x + gl_FragCoord.y, 8.0 * u_ratio) < 2.0 * u_ratio)
    inside = vec4(0.47, 0.0, 0.0, max(u_fill, 0.6) * 1.5);
  vec4 mixed = mix(inside, vec4(v_chosen == 1u ? u_ink : u_edge, 1.0), line);
  colour = vec4(mixed.rgb * mixed.a, mixed.a);
}`;

const across = (longitude) => longitude / 360 + 0.5;
function down(latitude) {
  const sine = Math.sin((Math.max(-HIGHEST, Math.min(HIGHEST, latitude)) * Math.PI) / 180);
  return 0.5 - Math.log((1 + sine) / (1 - sine)) / (4 * Math.PI);
}

// The corners of the triangles of one ring, as places in it, and the sides that are the ring's own.
function triangles(ring) {
  const corners = ring.length - 1; // its last place is its first
  if (corners === 4 && convex(ring)) return [0, 1, 2, 0, 2, 3];
  return earcut(ring.slice(0, corners).flatMap(([x, y]) => [x, y]));
}

function convex(ring) {
  let left = 0;
  for (let one = 0; one < 4; one++) {
    const [[ax, ay], [bx, by], [cx, cy]] = [ring[one], ring[one + 1], ring[(one + 2) % 4]];
    left += (bx - ax) * (cy - by) - (by - ay) * (cx - bx) > 0 ? 1 : -1;
  }
  return Math.abs(left) === 4;
}

export function build(outlines) {
  let corners = 0;
  const rings = [];
  const boxes = new Float64Array(outlines.length * 4).fill(NaN);
  let [west, south, east, north] = [Infinity, Infinity, -Infinity, -Infinity];
  outlines.forEach((parts, tile) => {
    for (const ring of parts ?? []) {
      const found = triangles(ring);
      if (found.length === 0) continue;
      rings.push([tile, ring, found]);
      corners += found.length;
      const box = boxes.subarray(4 * tile, 4 * tile + 4);
      for (const [x, y] of ring) {
        if (!(x >= box[0])) box[0] = x;
        if (!(y >= box[1])) box[1] = y;
        if (!(x <= box[2])) box[2] = x;
        if (!(y <= box[3])) box[3] = y;
      }
      west = Math.min(west, box[0]);
      south = Math.min(south, box[1]);
      east = Math.max(east, box[2]);
      north = Math.max(north, box[3]);
    }
  });
  const bounds = rings.length > 0 ? [west, south, east, north] : null;
  const origin = bounds ? [across((west + east) / 2), down((south + north) / 2)] : [0, 0];
  const buffer = new ArrayBuffer(corners * BYTES);
  const floats = new Float32Array(buffer);
  const words = new Uint32Array(buffer);
  const bytes = new Uint8Array(buffer);
  const parts = [];
  let at = 0;
  for (const [tile, ring, found] of rings) {
    if (parts.length === 0 || tile >= parts.at(-1).tile + PART) parts.push({ tile, first: at, box: [Infinity, Infinity, -Infinity, -Infinity] });
    const part = parts.at(-1);
    part.box[0] = Math.min(part.box[0], boxes[4 * tile]);
    part.box[1] = Math.min(part.box[1], boxes[4 * tile + 1]);
    part.box[2] = Math.max(part.box[2], boxes[4 * tile + 2]);
    part.box[3] = Math.max(part.box[3], boxes[4 * tile + 3]);
    const size = ring.length - 1;
    for (let first = 0; first < found.length; first += 3) {
      for (let corner = 0; corner < 3; corner++, at++) {
        const [x, y] = ring[found[first + corner]];
        floats[at * 4] = across(x) - origin[0];
        floats[at * 4 + 1] = down(y) - origin[1];
        words[at * 4 + 2] = tile;
        for (let side = 0; side < 3; side++) {
          // a side lies opposite of its corner; one inside the tile is far from everywhere
          const apart = Math.abs(found[first + ((side + 1) % 3)] - found[first + ((side + 2) % 3)]);
          bytes[at * BYTES + 12 + side] = (apart === 1 || apart === size - 1 ? side === corner : true) ? 255 : 0;
        }
      }
    }
  }
  parts.forEach((part, place) => (part.count = (parts[place + 1]?.first ?? at) - part.first));
  return { buffer, parts, bounds, origin, boxes, corners, height: usualHeight(boxes) };
}

// The height of a usual tile, in parts of the world.
function usualHeight(boxes) {
  const found = [];
  for (let tile = 0; tile < boxes.length / 4; tile += 1 + Math.floor(boxes.length / 800)) found.push(down(boxes[4 * tile + 1]) - down(boxes[4 * tile + 3]));
  return found.sort((a, b) => a - b)[Math.floor(found.length / 2)] ?? 0;
}

function inside(ring, x, y) {
  let odd = false;
  for (let one = 0, other = ring.length - 1; one < ring.length; other = one++) {
    const [ax, ay] = ring[one];
    const [bx, by] = ring[other];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) odd = !odd;
  }
  return odd;
}

// A colour of look.css, as it is written there.
export const written = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

// The numbers of a state's colour, from 0 to 1.
function colourOf(name) {
  const colour = written(`state-${name}`);
  return [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16) / 255);
}

// A custom layer of MapLibre GL.
export class Tiles {
  constructor() {
    this.id = "tiles";
    this.type = "custom";
    this.renderingMode = "2d";
    this.fill = FILL;
    this.chosen = null;
    this.show([], {});
  }

  // `known`: number -> state; tiles that it does not name are waiting.
  show(outlines, known) {
    this.outlines = outlines;
    Object.assign(this, build(outlines));
    this.states = new Uint8Array(ROW * Math.max(1, Math.ceil(outlines.length / ROW)));
    for (const tile in known) this.states[tile] = NAMES.indexOf(known[tile]);
    this.fresh = { geometry: true, states: true };
    this.map?.triggerRepaint();
  }

  change(states) {
    for (const [tile, name] of states) this.states[tile] = NAMES.indexOf(name);
    this.fresh.states = true;
    this.map?.triggerRepaint();
  }

  choose(tile) {
    this.chosen = tile;
    this.map?.triggerRepaint();
  }

  setFill(opacity) {
    this.fill = opacity;
    this.map?.triggerRepaint();
  }

  state(tile) {
    return NAMES[this.states[tile]];
  }

  // The number of the tile at a place; the last one where several lie above each other, as it is drawn last.
  at({ lng, lat }) {
    for (let tile = this.outlines.length - 1; tile >= 0; tile--) {
      const box = this.boxes;
      const x = lng < box[4 * tile] ? lng + 360 : lng > box[4 * tile + 2] ? lng - 360 : lng;
      if (!(x >= box[4 * tile] && x <= box[4 * tile + 2] && lat >= box[4 * tile + 1] && lat <= box[4 * tile + 3])) continue;
      if (this.outlines[tile].some((ring) => inside(ring, x, lat))) return tile;
    }
    return null;
  }

  onAdd(map, gl) {
    this.map = map;
    const program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    this.program = program;
    this.uniforms = Object.fromEntries(["matrix", "states", "chosen", "colours", "fill", "line", "ratio", "ink", "edge"].map((name) => [name, gl.getUniformLocation(program, `u_${name}`)]));
    this.colours = NAMES.flatMap(colourOf);
    this.array = gl.createVertexArray();
    this.corner = gl.createBuffer();
    this.texture = gl.createTexture();
    this.fresh = { geometry: true, states: true };
  }

  onRemove(_map, gl) {
    gl.deleteProgram(this.program);
    gl.deleteVertexArray(this.array);
    gl.deleteBuffer(this.corner);
    gl.deleteTexture(this.texture);
    this.map = null;
  }

  upload(gl) {
    if (this.fresh.geometry) {
      gl.bindBuffer(gl.ARRAY_BUFFER, this.corner);
      gl.bufferData(gl.ARRAY_BUFFER, this.buffer, gl.STATIC_DRAW);
      const [place, tile, sides] = ["a_place", "a_tile", "a_sides"].map((name) => gl.getAttribLocation(this.program, name));
      for (const one of [place, tile, sides]) gl.enableVertexAttribArray(one);
      gl.vertexAttribPointer(place, 2, gl.FLOAT, false, BYTES, 0);
      gl.vertexAttribIPointer(tile, 1, gl.UNSIGNED_INT, BYTES, 8);
      gl.vertexAttribPointer(sides, 3, gl.UNSIGNED_BYTE, true, BYTES, 12);
    }
    if (this.fresh.states) {
      for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, name, gl.NEAREST);
      for (const [name, value] of [[gl.UNPACK_ALIGNMENT, 1], [gl.UNPACK_FLIP_Y_WEBGL, false], [gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, false]]) gl.pixelStorei(name, value);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.R8UI, ROW, this.states.length / ROW, 0, gl.RED_INTEGER, gl.UNSIGNED_BYTE, this.states);
    }
    this.fresh = {};
  }

  render(gl, given) {
    if (this.corners === 0) return;
    gl.useProgram(this.program);
    gl.bindVertexArray(this.array);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, this.texture);
    this.upload(gl);
    const seen = this.map.getBounds();
    const [west, , east] = this.bounds;
    // the outline of a tile of a few pixels would be all that is seen of it
    const size = 512 * 2 ** this.map.getZoom() * this.height;
    gl.uniform1i(this.uniforms.states, 0);
    gl.uniform1ui(this.uniforms.chosen, this.chosen ?? 0xffffffff);
    gl.uniform1f(this.uniforms.fill, this.fill);
    gl.uniform1f(this.uniforms.line, Math.max(0, Math.min(1, (size - 3) / 6)));
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    gl.uniform3fv(this.uniforms.ink, Array(3).fill(dark ? 1 : 0.07));
    gl.uniform3fv(this.uniforms.edge, dark ? [0.78, 0.84, 0.9] : [0.2, 0.25, 0.31]);
    gl.uniform1f(this.uniforms.ratio, this.map.getPixelRatio());
    gl.uniform3fv(this.uniforms.colours, this.colours);
    for (let copy = Math.ceil((seen.getWest() - east) / 360); copy <= (seen.getEast() - west) / 360; copy++) {
      gl.uniformMatrix4fv(this.uniforms.matrix, false, moved(given.defaultProjectionData.mainMatrix, this.origin[0] + copy, this.origin[1]));
      for (const part of this.parts) {
        const away = part.box[0] + 360 * copy > seen.getEast() || part.box[2] + 360 * copy < seen.getWest() || part.box[1] > seen.getNorth() || part.box[3] < seen.getSouth();
        if (!away) gl.drawArrays(gl.TRIANGLES, part.first, part.count);
      }
    }
    gl.bindVertexArray(null);
  }
}

// In double precision, before the numbers of the map become those of the graphics card.
function moved(matrix, x, y) {
  const made = Array.from(matrix);
  for (let row = 0; row < 4; row++) made[12 + row] += matrix[row] * x + matrix[4 + row] * y;
  return made;
}
