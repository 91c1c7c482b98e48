BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL,
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0012');
CREATE TABLE api_keys (
	id VARCHAR(12) NOT NULL,
	tenant VARCHAR(63) NOT NULL,
	name VARCHAR(100) NOT NULL,
	digest VARCHAR(64) NOT NULL,
	scopes VARCHAR(64) NOT NULL,
	created_at DATETIME NOT NULL,
	expires_at DATETIME,
	revoked_at DATETIME,
	last_used_at DATETIME,
	CONSTRAINT pk_api_keys PRIMARY KEY (id)
);
INSERT INTO "api_keys" VALUES('bd1d9b8ac2a3','acme','the website','08d47b78944356fc63e9c976a8cfc637fb6b561967528c34550b9bbb1aeb2564','read,write','2026-11-29 14:56:35.398418',NULL,NULL,NULL);
INSERT INTO "api_keys" VALUES('5bf912532966','acme','the old website','c13aee5ff2b30ebc379d33dcde0c53a04e39eb87e14cea08c85a1c05f94b26ee','read','2026-11-29 14:56:35.411166',NULL,'2026-11-29 14:56:35.418258',NULL);
CREATE TABLE batches (
	id VARCHAR(32) NOT NULL,
	tenant VARCHAR(63) NOT NULL,
	created_at DATETIME NOT NULL,
	size INTEGER NOT NULL,
	idempotency_key VARCHAR(255),
	digest VARCHAR(64),
	CONSTRAINT pk_batches PRIMARY KEY (id)
);
INSERT INTO "batches" VALUES('01a227ced4dd7d29a311c21b6568817c','acme','2026-11-29 14:56:35.385062',2,'batch-1','ea56c76c7edc32c65bc4568a9e582ce72be8397bcb27c7e5b0086814ba2406a8');
CREATE TABLE chores (
	name VARCHAR(64) NOT NULL,
	due_at DATETIME NOT NULL,
	place VARCHAR(255),
	CONSTRAINT pk_chores PRIMARY KEY (name)
);
INSERT INTO "chores" VALUES('sweep','2026-11-29 15:56:35.385077','jobs/01a227ced4c97325a2ddfb97e02dd57b/input/audio.wav');
CREATE TABLE deliveries (
	id VARCHAR(32) NOT NULL,
	job_id VARCHAR(32) NOT NULL,
	tenant VARCHAR(63) NOT NULL,
	type VARCHAR(32) NOT NULL,
	created_at DATETIME NOT NULL,
	url VARCHAR(2048) NOT NULL,
	host VARCHAR(255) NOT NULL,
	body TEXT NOT NULL,
	state VARCHAR(16) NOT NULL,
	due_at DATETIME,
	tries INTEGER NOT NULL,
	max_tries INTEGER NOT NULL,
	log JSON NOT NULL,
	CONSTRAINT pk_deliveries PRIMARY KEY (id),
	CONSTRAINT fk_deliveries_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);
INSERT INTO "deliveries" VALUES('01a227ced360718da01000479937ea8e','01a227ced276704aa72daeb474aee4d9','acme','job.succeeded','2026-11-29 14:56:35.385042','https://hooks.example/a','hooks.example','{"type":"job.succeeded","timestamp":"2026-11-29T14:56:35.385042Z","data":{"id":"01a227ced276704aa72daeb474aee4d9","tenant":"acme","state":"succeeded","attempt":1,"max_attempts":3,"created_at":"2026-11-29T14:56:35.385039Z","started_at":"2026-11-29T14:56:35.385041Z","finished_at":"2026-11-29T14:56:35.385042Z","clip_seconds":2.5,"priority":10,"metadata":{"order":"\u00dc-17"},"batch":null,"callback_url":"https://hooks.example/a","request":{"person":"ada","takes":3,"seed":2147483648,"diversity":0.35,"guidance_face":2.5,"guidance_body":0.0,"steps":25,"size":"512x384","views":["front","side"],"outputs":["video","motion"],"format":"webm","background":"transparent","supersampling":2,"shown":null},"outputs":[{"name":"take-1.mp4","content_type":"video/mp4","bytes":1234,"path":"/jobs/01a227ced276704aa72daeb474aee4d9/outputs/take-1.mp4"},{"name":"motion.npz","content_type":"application/octet-stream","bytes":567,"path":"/jobs/01a227ced276704aa72daeb474aee4d9/outputs/motion.npz"}],"error":null}}','pending','2026-11-29 14:56:46.669410',1,9,'[{"at": "2026-11-29T14:56:35.385068Z", "status": 503, "milliseconds": 12.5, "error": "It answered 503."}]');
INSERT INTO "deliveries" VALUES('01a227ced3c4767f859683ed88210d6d','01a227ced37b7fb2aee9af51da6c6007','acme','job.failed','2026-11-29 14:56:35.385046','https://hooks.example/b','hooks.example','{"type":"job.failed","timestamp":"2026-11-29T14:56:35.385046Z","data":{"id":"01a227ced37b7fb2aee9af51da6c6007","tenant":"acme","state":"failed","attempt":1,"max_attempts":3,"created_at":"2026-11-29T14:56:35.385043Z","started_at":"2026-11-29T14:56:35.385045Z","finished_at":"2026-11-29T14:56:35.385046Z","clip_seconds":2.5,"priority":10,"metadata":{},"batch":null,"callback_url":"https://hooks.example/b","request":{"person":"demo","takes":1,"seed":8532059,"diversity":null,"guidance_face":null,"guidance_body":null,"steps":null,"size":null,"views":null,"outputs":["video"],"format":"mp4","background":null,"supersampling":null,"shown":null},"outputs":[],"error":{"code":"clip_silent","detail":"The clip is silent."}}}','pending','2026-11-29 14:56:35.385046',0,9,'[]');
CREATE TABLE "idempotency_keys" (
	"key" VARCHAR(255) NOT NULL,
	digest VARCHAR(64) NOT NULL,
	job_id VARCHAR(32) NOT NULL,
	look_at DATETIME NOT NULL,
	tenant VARCHAR(63) DEFAULT 'local' NOT NULL,
	CONSTRAINT pk_idempotency_keys PRIMARY KEY (tenant, "key"),
	CONSTRAINT fk_idempotency_keys_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);
INSERT INTO "idempotency_keys" VALUES('order-17','938cfb730587e8f744de2fb9307c9a6187b4b7f41dca949473941a74a1977455','01a227cecfed7e188a764c3907b6f4a0','2026-11-30 14:56:35.307971','local');
INSERT INTO "idempotency_keys" VALUES('order-18','7bbf62574ae81b23603a7a7235664fcd5325182be1f6e2d092a0431dbc4629ee','01a227ced4c97325a2ddfb97e02dd57b','2026-11-30 14:56:35.385061','acme');
CREATE TABLE identity (
	id VARCHAR(32) NOT NULL,
	CONSTRAINT pk_identity PRIMARY KEY (id)
);
INSERT INTO "identity" VALUES('6a590f24cc524d61b52af52e233bdf9e');
CREATE TABLE jobs (
	id VARCHAR(32) NOT NULL,
	state VARCHAR(16) NOT NULL,
	attempt INTEGER NOT NULL,
	max_attempts INTEGER NOT NULL,
	worker VARCHAR(255),
	lease_until DATETIME,
	created_at DATETIME NOT NULL,
	started_at DATETIME,
	finished_at DATETIME,
	woken_at DATETIME NOT NULL,
	request JSON NOT NULL,
	input_key VARCHAR(255) NOT NULL,
	clip_seconds DOUBLE NOT NULL,
	stage VARCHAR(16) NOT NULL,
	stage_progress DOUBLE NOT NULL,
	progress DOUBLE NOT NULL,
	motion_key VARCHAR(255),
	motion_digest VARCHAR(64),
	outputs JSON NOT NULL,
	error_code VARCHAR(64),
	error_detail TEXT, person VARCHAR(64) DEFAULT '' NOT NULL, priority INTEGER DEFAULT '0' NOT NULL, metadata JSON DEFAULT '{}' NOT NULL, tenant VARCHAR(63) DEFAULT 'local' NOT NULL, input_bytes BIGINT DEFAULT '0' NOT NULL, output_bytes BIGINT DEFAULT '0' NOT NULL, callback_url VARCHAR(2048), finished_takes JSON DEFAULT '[]' NOT NULL, input_expired_at DATETIME, outputs_expired_at DATETIME, batch_id VARCHAR(32), batch_place INTEGER,
	CONSTRAINT pk_jobs PRIMARY KEY (id)
);
INSERT INTO "jobs" VALUES('01a227cecfed7e188a764c3907b6f4a0','queued',0,3,NULL,NULL,'2026-11-29 14:56:35.307971',NULL,NULL,'2026-11-29 14:56:35.385063','{"person": "demo", "takes": 2, "seed": 7, "diversity": null, "guidance_face": null, "guidance_body": null, "steps": null, "size": "256x256", "views": null, "outputs": ["video"], "format": "mp4", "background": "#aabbcc", "supersampling": null, "shown": null}','jobs/01a227cecfed7e188a764c3907b6f4a0/input/audio.wav',0.5,'queued',0.0,0.0,NULL,NULL,'[]',NULL,NULL,'demo',-3,'{"order": "17"}','local',16044,0,NULL,'[]',NULL,NULL,NULL,NULL);
INSERT INTO "jobs" VALUES('01a227ced276704aa72daeb474aee4d9','succeeded',1,3,'host-1',NULL,'2026-11-29 14:56:35.385039','2026-11-29 14:56:35.385041','2026-11-29 14:56:35.385042','2026-11-29 14:56:35.385039','{"person": "ada", "takes": 3, "seed": 2147483648, "diversity": 0.35, "guidance_face": 2.5, "guidance_body": 0.0, "steps": 25, "size": "512x384", "views": ["front", "side"], "outputs": ["video", "motion"], "format": "webm", "background": "transparent", "supersampling": 2}','jobs/01a227ced276704aa72daeb474aee4d9/input/audio.wav',2.5,'publish',1.0,1.0,'jobs/01a227ced276704aa72daeb474aee4d9/attempt-1/motion.npz','a27e1d7c15dfa7238b4da0876e78752930eb7fa9e742e905d2f71ec6c7e718d2','[{"name": "take-1.mp4", "key": "jobs/01a227ced276704aa72daeb474aee4d9/attempt-1/take-1.mp4", "content_type": "video/mp4", "bytes": 1234}, {"name": "motion.npz", "key": "jobs/01a227ced276704aa72daeb474aee4d9/attempt-1/motion.npz", "content_type": "application/octet-stream", "bytes": 567}]',NULL,NULL,'ada',10,'{"order": "\u00dc-17"}','acme',480044,1801,'https://hooks.example/a','[]',NULL,NULL,NULL,NULL);
INSERT INTO "jobs" VALUES('01a227ced37b7fb2aee9af51da6c6007','failed',1,3,'host-1',NULL,'2026-11-29 14:56:35.385043','2026-11-29 14:56:35.385045','2026-11-29 14:56:35.385046','2026-11-29 14:56:35.385043','{"person": "demo", "takes": 1, "seed": 8532059, "diversity": null, "guidance_face": null, "guidance_body": null, "steps": null, "size": null, "views": null, "outputs": ["video"], "format": "mp4", "background": null, "supersampling": null}','jobs/01a227ced37b7fb2aee9af51da6c6007/input/audio.wav',2.5,'decode',0.0,0.0,NULL,NULL,'[]','clip_silent','The clip is silent.','demo',10,'{}','acme',480044,0,'https://hooks.example/b','[]',NULL,NULL,NULL,NULL);
INSERT INTO "jobs" VALUES('01a227ced3d47796b0c8c19f46acc49f','canceled',0,3,NULL,NULL,'2026-11-29 14:56:35.385047',NULL,'2026-11-29 14:56:35.385048','2026-11-29 14:56:35.385047','{"person": "demo", "takes": 1, "seed": 2890762766, "diversity": null, "guidance_face": null, "guidance_body": null, "steps": null, "size": null, "views": null, "outputs": ["video"], "format": "mp4", "background": null, "supersampling": null}','jobs/01a227ced3d47796b0c8c19f46acc49f/input/audio.wav',2.5,'queued',0.0,0.0,NULL,NULL,'[]',NULL,NULL,'demo',10,'{}','acme',480044,0,NULL,'[]',NULL,NULL,NULL,NULL);
INSERT INTO "jobs" VALUES('01a227ced3ff73daae71e54fb8f32940','succeeded',1,3,'host-1',NULL,'2026-11-29 14:56:35.385049','2026-11-29 14:56:35.385051','2026-08-31 14:56:35.385064','2026-11-29 14:56:35.385049','{"person": "demo", "takes": 1, "seed": 813935985, "diversity": null, "guidance_face": null, "guidance_body": null, "steps": null, "size": null, "views": null, "outputs": ["video"], "format": "mp4", "background": null, "supersampling": null}','jobs/01a227ced3ff73daae71e54fb8f32940/input/audio.wav',2.5,'publish',1.0,1.0,NULL,NULL,'[{"name": "take-1.mp4", "key": "jobs/01a227ced3ff73daae71e54fb8f32940/attempt-1/take-1.mp4", "content_type": "video/mp4", "bytes": 1234}]',NULL,NULL,'demo',10,'{}','acme',0,0,NULL,'[]','2026-11-29 14:56:35.385066','2026-11-29 14:56:35.385065',NULL,NULL);
INSERT INTO "jobs" VALUES('01a227ced46877b782746a51f8cc1b01','running',1,3,'host-1','2026-11-29 14:56:50.385058','2026-11-29 14:56:35.385057','2026-11-29 14:56:35.385059',NULL,'2026-11-29 14:56:35.385057','{"person": "demo", "takes": 2, "seed": 11, "diversity": null, "guidance_face": null, "guidance_body": null, "steps": null, "size": null, "views": null, "outputs": ["video"], "format": "mp4", "background": null, "supersampling": null}','jobs/01a227ced46877b782746a51f8cc1b01/input/audio.wav',2.5,'render',0.5,0.79,'jobs/01a227ced46877b782746a51f8cc1b01/attempt-1/motion.npz','b23fc58c167d7685fcd530cd3400f22f072eca25532d9ccdb7da7110061c068d','[]',NULL,NULL,'demo',10,'{"a": "b"}','acme',480044,0,NULL,'[{"take": 1, "digest": "b23fc58c167d7685fcd530cd3400f22f072eca25532d9ccdb7da7110061c068d", "outputs": [{"name": "take-1.mp4", "key": "jobs/01a227ced46877b782746a51f8cc1b01/attempt-1/take-1.mp4", "content_type": "video/mp4", "bytes": 1234}]}]',NULL,NULL,NULL,NULL);
INSERT INTO "jobs" VALUES('01a227ced4bf74feac270ea876451afb','queued',0,3,NULL,NULL,'2026-11-29 14:56:35.385060',NULL,NULL,'2026-11-29 14:56:35.385060','{"person": "ada", "takes": 3, "seed": 2147483648, "diversity": 0.35, "guidance_face": 2.5, "guidance_body": 0.0, "steps": 25, "size": "512x384", "views": ["front", "side"], "outputs": ["video", "motion"], "format": "webm", "background": "transparent", "supersampling": 2, "shown": [1, 3]}','jobs/01a227ced4bf74feac270ea876451afb/input/audio.wav',2.5,'queued',0.0,0.0,'jobs/01a227ced4bf74feac270ea876451afb/attempt-0/motion.npz','a27e1d7c15dfa7238b4da0876e78752930eb7fa9e742e905d2f71ec6c7e718d2','[]',NULL,NULL,'ada',2,'{}','acme',480044,0,NULL,'[]',NULL,NULL,NULL,NULL);
INSERT INTO "jobs" VALUES('01a227ced4c97325a2ddfb97e02dd57b','queued',0,3,NULL,NULL,'2026-11-29 14:56:35.385061',NULL,NULL,'2026-11-29 14:56:35.385061','{"person": "demo", "takes": 1, "seed": 1794049016, "diversity": null, "guidance_face": null, "guidance_body": null, "steps": null, "size": null, "views": null, "outputs": ["video"], "format": "mp4", "background": null, "supersampling": null}','jobs/01a227ced4c97325a2ddfb97e02dd57b/input/audio.wav',2.5,'queued',0.0,0.0,NULL,NULL,'[]',NULL,NULL,'demo',1,'{}','acme',480044,0,NULL,'[]',NULL,NULL,NULL,NULL);
INSERT INTO "jobs" VALUES('01a227ced4dd70cd950d3bf59ec5bbb9','queued',0,3,NULL,NULL,'2026-11-29 14:56:35.385062',NULL,NULL,'2026-11-29 14:56:35.385062','{"person": "demo", "takes": 1, "seed": 1305269821, "diversity": null, "guidance_face": null, "guidance_body": null, "steps": null, "size": null, "views": null, "outputs": ["video"], "format": "mp4", "background": null, "supersampling": null}','jobs/01a227ced4dd70cd950d3bf59ec5bbb9/input/audio.wav',2.5,'queued',0.0,0.0,NULL,NULL,'[]',NULL,NULL,'demo',0,'{}','acme',480044,0,NULL,'[]',NULL,NULL,'01a227ced4dd7d29a311c21b6568817c',1);
INSERT INTO "jobs" VALUES('01a227ced4dd72b8bbf9dce6200e9867','queued',0,3,NULL,NULL,'2026-11-29 14:56:35.385062',NULL,NULL,'2026-11-29 14:56:35.385062','{"person": "demo", "takes": 1, "seed": 3874411378, "diversity": null, "guidance_face": null, "guidance_body": null, "steps": null, "size": null, "views": null, "outputs": ["video"], "format": "mp4", "background": null, "supersampling": null}','jobs/01a227ced4dd72b8bbf9dce6200e9867/input/audio.wav',2.5,'queued',0.0,0.0,NULL,NULL,'[]',NULL,NULL,'demo',0,'{}','acme',480044,0,NULL,'[]',NULL,NULL,'01a227ced4dd7d29a311c21b6568817c',2);
CREATE TABLE removals (
	job_id VARCHAR(32) NOT NULL,
	deleted_at DATETIME NOT NULL,
	due_at DATETIME NOT NULL,
	rounds_left INTEGER NOT NULL,
	CONSTRAINT pk_removals PRIMARY KEY (job_id)
);
INSERT INTO "removals" VALUES('01a227ced4377812a04907c5455f631c','2026-11-29 14:56:35.385056','2026-11-29 14:57:05.385056',4);
CREATE TABLE tenants (
	name VARCHAR(63) NOT NULL,
	jobs_in_flight INTEGER,
	seconds_a_day DOUBLE,
	stored_bytes BIGINT,
	day DATE,
	seconds_of_day DOUBLE DEFAULT '0' NOT NULL,
	CONSTRAINT pk_tenants PRIMARY KEY (name)
);
INSERT INTO "tenants" VALUES('local',NULL,NULL,NULL,'2026-11-29',0.5);
INSERT INTO "tenants" VALUES('acme',50,3600.0,NULL,'2026-11-29',25.0);
CREATE TABLE uploads (
	id VARCHAR(32) NOT NULL,
	tenant VARCHAR(63) NOT NULL,
	bytes BIGINT NOT NULL,
	"key" VARCHAR(255) NOT NULL,
	session VARCHAR(1024) NOT NULL,
	created_at DATETIME NOT NULL,
	expires_at DATETIME NOT NULL,
	held_until DATETIME NOT NULL,
	container VARCHAR(16),
	seconds DOUBLE,
	sha256 VARCHAR(64),
	CONSTRAINT pk_uploads PRIMARY KEY (id)
);
INSERT INTO "uploads" VALUES('01a227ced5607c6b81ae286759218126','acme',480044,'uploads/01a227ced5607c6b81ae286759218126/clip.bin','session-1','2026-11-29 14:56:35.385070','2026-11-29 15:56:35.385072','2026-11-29 14:56:35.385070','wav',2.5,'efefefefefefefefefefefefefefefefefefefefefefefefefefefefefefefef');
INSERT INTO "uploads" VALUES('01a227ced5837fff8ca840e0c2d83db9','acme',104857601,'uploads/01a227ced5837fff8ca840e0c2d83db9/clip.bin','session-2','2026-11-29 14:56:35.385074','2026-11-29 15:56:35.385074','2026-11-29 14:56:35.385074',NULL,NULL,NULL);
CREATE INDEX ix_jobs_state_created_at_id ON jobs (state, created_at, id);
CREATE INDEX ix_jobs_created_at_id ON jobs (created_at, id);
CREATE INDEX ix_removals_due_at ON removals (due_at);
CREATE INDEX ix_jobs_person_created_at_id ON jobs (person, created_at, id);
CREATE INDEX ix_jobs_turn ON jobs (state, priority DESC, created_at, id);
CREATE INDEX ix_jobs_tenant_created_at_id ON jobs (tenant, created_at, id);
CREATE INDEX ix_idempotency_keys_look_at ON idempotency_keys (look_at);
CREATE INDEX ix_idempotency_keys_job_id ON idempotency_keys (job_id);
CREATE INDEX ix_jobs_share ON jobs (state, tenant, priority DESC, created_at, id);
CREATE INDEX ix_deliveries_job_id ON deliveries (job_id);
CREATE INDEX ix_deliveries_due_at ON deliveries (due_at);
CREATE INDEX ix_jobs_finished_at ON jobs (finished_at);
CREATE INDEX ix_uploads_expires_at ON uploads (expires_at);
CREATE UNIQUE INDEX ix_batches_tenant_idempotency_key ON batches (tenant, idempotency_key);
CREATE INDEX ix_jobs_batch_id_batch_place ON jobs (batch_id, batch_place);
COMMIT;
