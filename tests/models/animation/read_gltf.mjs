// Read glTF files with three.js and the Khronos validator, apart from the code that writes them.
// node read_gltf.mjs NODE_MODULES < request.json > answer.json
// request: {"validate": [FILE], "glb": FILE, "vrm": FILE, "vrma": FILE, "seconds": [NUMBER]}
// answer: {"issues": {FILE: {"errors", "warnings", "messages"}}, "frames": [...]}
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const modules = process.argv[2];
const load = (name) => import(pathToFileURL(join(modules, name)).href);
globalThis.self = globalThis;
const THREE = await load("three/build/three.module.js");
const { GLTFLoader } = await load("three/examples/jsm/loaders/GLTFLoader.js");

// Textures need a browser, and no test here looks at them.
const withoutTextures = (parser) => {
  parser.loadTexture = async () => new THREE.Texture();
  return { name: "without textures" };
};

async function read(path, ...plugins) {
  const loader = new GLTFLoader();
  for (const plugin of [withoutTextures, ...plugins]) loader.register(plugin);
  const bytes = readFileSync(path);
  return loader.parseAsync(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length), "");
}

function positions(objects) {
  const at = new THREE.Vector3();
  return Object.fromEntries(
    Object.entries(objects).map(([name, object]) => [name, object.getWorldPosition(at).toArray()]),
  );
}

async function frames(request) {
  const gltf = await read(request.glb);
  const joints = {};
  let mesh;
  gltf.scene.traverse((each) => {
    if (each.isBone) joints[each.userData.name ?? each.name] = each;
    if (each.isSkinnedMesh) mesh = each;
  });
  const mixer = new THREE.AnimationMixer(gltf.scene);
  const action = mixer.clipAction(gltf.animations[0]).play();
  action.setLoop(THREE.LoopOnce);
  action.clampWhenFinished = true;
  const vertex = new THREE.Vector3();
  const chosen = request.vertices ?? [];
  return request.seconds.map((seconds) => {
    mixer.setTime(seconds);
    gltf.scene.updateMatrixWorld(true);
    return {
      positions: positions(joints),
      weights: [...(mesh.morphTargetInfluences ?? [])],
      vertices: chosen.map((index) => mesh.localToWorld(mesh.getVertexPosition(index, vertex)).toArray()),
    };
  });
}

async function retargeted(request) {
  const { VRMLoaderPlugin } = await load("@pixiv/three-vrm/lib/three-vrm.module.js");
  const animation = await load("@pixiv/three-vrm-animation/lib/three-vrm-animation.module.js");
  const vrm = (await read(request.vrm, (parser) => new VRMLoaderPlugin(parser))).userData.vrm;
  const vrma = await read(request.vrma, (parser) => new animation.VRMAnimationLoaderPlugin(parser));
  const proxy = new animation.VRMLookAtQuaternionProxy(vrm.lookAt);
  proxy.name = "lookAt";
  if (vrm.lookAt) vrm.scene.add(proxy);
  const clip = animation.createVRMAnimationClip(vrma.userData.vrmAnimations[0], vrm);
  const mixer = new THREE.AnimationMixer(vrm.scene);
  const action = mixer.clipAction(clip).play();
  action.setLoop(THREE.LoopOnce);
  action.clampWhenFinished = true;
  const bones = {};
  for (const name of Object.keys(vrm.humanoid.humanBones)) bones[name] = vrm.humanoid.getRawBoneNode(name);
  return request.seconds.map((seconds) => {
    mixer.setTime(seconds);
    vrm.update(0);
    vrm.scene.updateMatrixWorld(true);
    const expressions = vrm.expressionManager?.expressions ?? [];
    const targets = [];
    vrm.scene.traverse((each) => {
      if (each.isSkinnedMesh && each.morphTargetInfluences) targets.push(...each.morphTargetInfluences);
    });
    return {
      positions: positions(bones),
      expressions: Object.fromEntries(expressions.map((each) => [each.expressionName, each.weight])),
      targets,
      look: vrm.lookAt ? [vrm.lookAt.yaw, vrm.lookAt.pitch] : null,
    };
  });
}

async function issues(paths) {
  const validator = createRequire(join(modules, "x.js"))("gltf-validator");
  const found = {};
  for (const path of paths) {
    const report = await validator.validateBytes(new Uint8Array(readFileSync(path)));
    const { numErrors: errors, numWarnings: warnings, messages } = report.issues;
    found[path] = { errors, warnings, messages: messages.slice(0, 5).map((each) => `${each.code} ${each.pointer}`) };
  }
  return found;
}

const request = JSON.parse(readFileSync(0, "utf8"));
const answer = {};
if (request.validate) answer.issues = await issues(request.validate);
if (request.glb) answer.frames = await frames(request);
if (request.vrma) answer.frames = await retargeted(request);
process.stdout.write(JSON.stringify(answer));
