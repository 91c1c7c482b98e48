// A take in 3D: the person and the motion of its glTF file, drawn by three.js.
import { element } from "../elements.js";
import { source } from "./outputs.js";

const GLTF = "model/gltf-binary";
const FIELD_OF_VIEW = 30; // degrees
const MARGIN = 1.15;
const SHARPEST = 2; // pixels of the canvas for one of the page

// The file to show in 3D; a VRM animation has no person.
export const shownIn3d = (files) => files.find(({ content_type, name }) => content_type === GLTF && name.endsWith(".glb"));

// Show a file in a canvas. It follows a video if there is one, and stops when it leaves the page.
export async function openViewer(output, label, video) {
  const three = await import("../three/three.min.js");
  const take = await loader(three).loadAsync(source(output));
  const canvas = element("canvas", { className: "viewer", tabIndex: 0, role: "img", ariaLabel: `${label} in 3D; drag to turn it` });
  const scene = new three.Scene();
  scene.add(take.scene, new three.AmbientLight(0xffffff, 1.6), sun(three), new three.GridHelper(4, 16, 0x888888, 0x444444));
  const mixer = new three.AnimationMixer(take.scene);
  for (const clip of take.animations) mixer.clipAction(clip).play();
  const renderer = new three.WebGLRenderer({ canvas, antialias: true, alpha: true });
  renderer.setPixelRatio(Math.min(devicePixelRatio, SHARPEST));
  const camera = new three.PerspectiveCamera(FIELD_OF_VIEW, 1, 0.05, 50);
  const controls = new three.OrbitControls(camera, canvas);
  look(three, camera, controls, take.scene);
  const timer = new three.Timer();
  let shown = false;
  renderer.setAnimationLoop((now) => {
    if (shown && !canvas.isConnected) return close(renderer, controls, take.scene);
    shown ||= canvas.isConnected;
    const { clientWidth: width, clientHeight: height } = canvas;
    if (!width || !height) return;
    resize(renderer, camera, width, height);
    timer.update(now);
    mixer.setTime(video ? video.currentTime : timer.getElapsed());
    controls.update();
    renderer.render(scene, camera);
    canvas.dataset.seconds = mixer.time.toFixed(2);
  });
  return canvas;
}

// Textures as images: the policy of the page lets scripts fetch from this host only, and blobs are not of it.
function loader(three) {
  return new three.GLTFLoader().register((parser) => {
    parser.textureLoader = new three.TextureLoader(parser.options.manager);
    return { name: "images" };
  });
}

function sun(three) {
  const light = new three.DirectionalLight(0xffffff, 1.8);
  light.position.set(1, 3, 3);
  return light;
}

// Head and hands fill the picture: the upper 55 % of the body.
function look(three, camera, controls, person) {
  const size = new three.Box3().setFromObject(person).getSize(new three.Vector3());
  const height = size.y || 1;
  const distance = (0.55 * height * MARGIN) / 2 / Math.tan((FIELD_OF_VIEW * Math.PI) / 360);
  controls.target.set(0, 0.74 * height, 0);
  camera.position.set(0, 0.78 * height, distance + size.z / 2);
  controls.update();
}

function resize(renderer, camera, width, height) {
  const size = `${width} ${height}`;
  if (renderer.domElement.dataset.size === size) return;
  renderer.domElement.dataset.size = size;
  renderer.setSize(width, height, false);
  camera.aspect = width / height;
  camera.updateProjectionMatrix();
}

function close(renderer, controls, person) {
  renderer.setAnimationLoop(null);
  controls.dispose();
  person.traverse(({ geometry, material }) => {
    geometry?.dispose();
    material?.map?.dispose();
    material?.dispose();
  });
  renderer.dispose();
}
