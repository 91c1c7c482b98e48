// Made by scripts/types.mjs from the OpenAPI document; `make client-types` makes it again.

export interface paths {
    "/generate": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Make video of a recording
         * @description Send a recording as `audio`: wav (PCM, ADPCM, GSM, G.722 or MP3), w64, aiff, caf, flac, mp3, aac, ogg (Vorbis, Opus or FLAC), m4a, mp4, mov or 3gp (AAC, ALAC, AMR or PCM), webm or mkv, amr, or wma; in a form, or in JSON as base64.
         *     For a file that was sent by POST /uploads, send its `upload_id` instead. The left channel is the
         *     person to show, the right channel the partner; in a mono file the partner is silent.
         *     If each person has a file, send the partner's as `partner` or `partner_upload_id`. Returns a job:
         *     read it at `Location` until it has ended.
         */
        post: operations["generate"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/uploads": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Announce a large clip
         * @description Returns a URL for each part of the file; each part except the last has
         *     104857600 bytes. PUT the bytes of each part to its URL, in any order, and again after a failure;
         *     then POST to `complete`. Uploads that are not complete by `expires_at` are removed.
         */
        post: operations["create_upload"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/uploads/{upload_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** State of an upload */
        get: operations["get_upload"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/uploads/{upload_id}/complete": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Complete an upload after all parts were sent
         * @description Joins the parts and checks the file like a file of POST /generate, which accepts
         *     its `upload_id` from then on, for any number of jobs. Completing it again changes nothing.
         */
        post: operations["complete_upload"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/batches": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Make video of many recordings
         * @description Up to 1000 items, each as the JSON of POST /generate with `upload_id`:
         *     in `items` of a JSON object, or as JSON lines. All of them are accepted, or none.
         */
        post: operations["create_batch"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/batches/{batch_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** A batch: the number of its jobs in each state, and each job */
        get: operations["get_batch"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/batches/{batch_id}/cancel": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Cancel all of its jobs that are queued or running
         * @description Jobs that have ended do not change. Canceling again changes nothing.
         */
        post: operations["cancel_batch"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/jobs": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Jobs, newest first */
        get: operations["list_jobs"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/jobs/{job_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * One job: state, stage, progress, position in the queue, outputs
         * @description With `Prefer: wait=N` the response is sent when the state or attempt of the job
         *     differs from that of `If-None-Match` (without it: from the current one), and after N seconds at the
         *     latest. For a job that has ended it is sent at once.
         */
        get: operations["get_job"];
        put?: never;
        post?: never;
        /**
         * Delete a job and its files
         * @description The job and its files are deleted when the response is sent. While the storage is
         *     unavailable, the files are deleted later. A running job is stopped as by `cancel`.
         */
        delete: operations["delete_job"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/jobs/{job_id}/cancel": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Cancel a job that is queued or running
         * @description The job is canceled when the response is sent; the worker of a running job stops
         *     within one denoising step or one batch of frames. Canceling a canceled job changes nothing.
         */
        post: operations["cancel_job"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/jobs/{job_id}/retry": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Run a failed or canceled job again
         * @description It is the same job: it returns to its old place in the queue, keeps its motion,
         *     and has as many attempts as a new job.
         */
        post: operations["retry_job"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/jobs/{job_id}/outputs/{name}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** One output file of the job */
        get: operations["download_output"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/jobs/{job_id}/render": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Render the motion of a job again
         * @description Makes a new job of the motion of this one: other views, another size, some of its
         *     takes. The motion is not sampled again, so the person moves as before. The job may have failed or
         *     been canceled, if that was after its motion was stored; it may be deleted afterwards.
         */
        post: operations["render_job"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/jobs/{job_id}/events": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Changes of one job, as server-sent events
         * @description An event `job` contains the job as in GET /jobs/{id}: first its current state,
         *     then every change. The stream ends after the final state. With `Last-Event-ID` it contains only what
         *     is new since that event; 204 when the job has ended and nothing is new. An event `deleted` ends the
         *     stream of a deleted job. Comments keep the connection alive.
         */
        get: operations["stream_job_events"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/jobs/{job_id}/deliveries": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Deliveries to the callback URL, and its answers */
        get: operations["list_deliveries"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/jobs/{job_id}/deliveries/{delivery_id}/redeliver": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Send a delivery again now
         * @description Sends the same event with the same `webhook-id`, whatever the result of earlier
         *     tries; it has as many tries as a new one.
         */
        post: operations["redeliver"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/people": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Persons that this service can render, with limits and defaults */
        get: operations["list_people"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/files/{key}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** A file, by a link from a job */
        get: operations["download_file"];
        /** A part of an upload, by a link from POST /uploads */
        put: operations["upload_part"];
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/healthz": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Liveness of the process */
        get: operations["get_health"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/readyz": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Readiness: database, broker and storage answer */
        get: operations["get_readiness"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
}
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        /** @description A batch as its owner sees it. */
        BatchView: {
            id: string;
            tenant: string;
            /** Format: date-time */
            created_at: string;
            size: number;
            /** @description Whether every job has ended. */
            ended: boolean;
            counts: components["schemas"]["Counts"];
            /** @description The jobs that were not deleted, in their order. */
            items: components["schemas"]["ItemView"][];
        };
        /** @description Number of jobs in each state. */
        Counts: {
            queued: number;
            running: number;
            succeeded: number;
            failed: number;
            canceled: number;
            deleted: number;
        };
        /** @description Deliveries of a job, oldest first. */
        DeliveryList: {
            deliveries: components["schemas"]["DeliveryView"][];
        };
        /**
         * @description States: pending -> delivered | failed; `redeliver` makes a delivery pending again.
         * @enum {string}
         */
        DeliveryState: "pending" | "delivered" | "failed";
        /** @description One event for one URL. */
        DeliveryView: {
            /** @description The `webhook-id` header of every try. */
            id: string;
            /** @example job.succeeded */
            type: string;
            state: components["schemas"]["DeliveryState"];
            url: string;
            /** Format: date-time */
            created_at: string;
            /** @description null when no further try is planned. */
            next_try_at: string | null;
            /** @description The latest tries, oldest first. */
            tries: components["schemas"]["TryView"][];
        };
        /** @description The reason of a failed job, or of one that was canceled by `cancel_after`. */
        ErrorView: {
            code: string;
            detail: string;
        };
        /** @description State of the process. */
        Health: {
            status: string;
        };
        /** @description One job of a batch. */
        ItemView: {
            /** @description Position in the batch, from 1. */
            place: number;
            /** @description Job id, for GET /jobs/{id}. */
            job: string;
            state: components["schemas"]["State"];
            error: components["schemas"]["ErrorView"] | null;
        };
        /** @description Jobs, newest first. */
        JobList: {
            jobs: components["schemas"]["JobView"][];
            /** @description `cursor` of the next page; null after the last. */
            next: string | null;
        };
        /** @description The stored request of a job, with the takes that are made into files. */
        JobRequest: {
            /**
             * @description The person to show: a name from GET /people.
             * @default demo
             */
            person?: string;
            /**
             * @description Number of different takes to sample.
             * @default 1
             */
            takes?: number;
            /** @description The same seed gives the same motion. Default: random, returned with the job. */
            seed?: number | null;
            /** @description Spread of the sampled key poses (top-p). */
            diversity?: number | null;
            /** @description Guidance scale of the face: how closely it follows the audio. */
            guidance_face?: number | null;
            /** @description Guidance scale of the body: how closely it follows the audio. */
            guidance_body?: number | null;
            /** @description Denoising steps: more is slower and finer. */
            steps?: number | null;
            /**
             * @description Channel of the person in a recording of two channels; with a file for each person, right shows the partner.
             * @default left
             * @enum {string}
             */
            person_channel?: "left" | "right";
            /** @description Size of one view in pixels: "WxH", or "N" for NxN. */
            size?: string | null;
            /** @description Cameras of the person, side by side in this order: up to 4 names from GET /people. */
            views?: string[] | null;
            /**
             * @description Kinds of result: video or motion, or several.
             * @default [
             *       "video"
             *     ]
             */
            outputs?: ("video" | "motion")[];
            /**
             * @description Format of the video: mp4: MP4 (H.264), mov: QuickTime (ProRes 4444), webm: WebM (VP9), png: zip of PNG pictures with the audio as WAV. Transparent backgrounds need mov, webm or png.
             * @default mp4
             * @enum {string}
             */
            format?: "mp4" | "mov" | "webm" | "png";
            /** @description Colour behind the person, such as "#20242c", or "transparent" in a format with alpha, where it is the default. */
            background?: string | null;
            /** @description Samples along each side of a pixel: more is slower, with smoother edges. Times the longer side of `size` at most 4096. */
            supersampling?: number | null;
            /** @description Numbers of the takes that are made into files; null: all. */
            shown?: number[] | null;
        };
        /** @description A job as its owner sees it. */
        JobView: {
            id: string;
            /** @description Tenant of the key that submitted the job. */
            tenant: string;
            state: components["schemas"]["State"];
            /** @description One of queued, decode, speech, face, guide, body, render, publish, in this order. */
            stage: string;
            /** @description Of the whole job. */
            progress: number;
            stages: components["schemas"]["StageView"][];
            /** @description Position in the queue, 1 is next; null once the job has left the queue. */
            position: number | null;
            attempt: number;
            max_attempts: number;
            /** Format: date-time */
            created_at: string;
            started_at: string | null;
            finished_at: string | null;
            clip_seconds: number;
            priority: number;
            /** @description As submitted. */
            metadata: {
                [key: string]: string;
            };
            /** @description Id of the batch that the job belongs to. */
            batch: string | null;
            /** @description Receives a webhook when the job has ended. */
            callback_url: string | null;
            /** @description Events that `callback_url` receives. */
            webhook_events: ("job.succeeded" | "job.failed" | "job.canceled")[];
            /** @description As submitted, in seconds. */
            cancel_after: number | null;
            /** @description The job is canceled at this time if it has not ended; null: never. */
            cancel_at: string | null;
            request: components["schemas"]["JobRequest"];
            outputs: components["schemas"]["OutputView"][];
            /** @description Defects of the clip. */
            warnings: components["schemas"]["WarningView"][];
            /** @description Its files may be removed after this time; null when they are kept forever. */
            expires_at: string | null;
            /** @description Whether its files were removed by age. */
            expired: boolean;
            error: components["schemas"]["ErrorView"] | null;
        };
        /** @description One output file. */
        OutputView: {
            name: string;
            content_type: string;
            bytes: number;
            /** @description Signed and temporary; GET the job again for a new one. */
            url: string;
            /** @description Permanent; needs a key that may read the job. */
            path: string;
        };
        /** @description One part of the file, and its upload URL. */
        PartView: {
            number: number;
            /** @description Offset of its first byte in the file, from 0. */
            first: number;
            /** @description Exact size of the part. */
            bytes: number;
            /** @description Signed and temporary: PUT the bytes there. */
            url: string;
        };
        /** @description Persons that this service can render. */
        People: {
            people: components["schemas"]["PersonSummary"][];
        };
        /** @description Values of request fields that a request leaves empty. */
        PersonDefaults: {
            diversity: number;
            guidance_face: number;
            guidance_body: number;
            steps: number;
            size: string;
        };
        /** @description A person as the API describes it. */
        PersonSummary: {
            name: string;
            title: string;
            licence: string;
            max_seconds: number;
            /** @description All names that `views` of a request may contain. */
            views: string[];
            /** @description The views of a request that names none. */
            default_views: string[];
            defaults: components["schemas"]["PersonDefaults"];
            digest: string;
        };
        /** @description State of each thing that the service needs. */
        Readiness: {
            status: string;
            checks: {
                [key: string]: string;
            };
        };
        /** @description Look of the new files; a field that is left out keeps its value. */
        RenderAsked: {
            /** @description Size of one view in pixels: "WxH", or "N" for NxN. Default: as before. */
            size?: string | null;
            /** @description Cameras of the person, side by side in this order: up to 4 names from GET /people. Default: as before. */
            views?: string[] | null;
            /** @description Kinds of result: video or motion, or several. Default: as before. */
            outputs?: ("video" | "motion")[] | null;
            /** @description Format of the video: mp4: MP4 (H.264), mov: QuickTime (ProRes 4444), webm: WebM (VP9), png: zip of PNG pictures with the audio as WAV. Transparent backgrounds need mov, webm or png. Default: as before. */
            format?: ("mp4" | "mov" | "webm" | "png") | null;
            /** @description Colour behind the person, such as "#20242c", or "transparent" in a format with alpha, where it is the default. Default: as before. */
            background?: string | null;
            /** @description Samples along each side of a pixel: more is slower, with smoother edges. Times the longer side of `size` at most 4096. Default: as before. */
            supersampling?: number | null;
            /**
             * @description Within a tenant, higher priorities run first, equal ones by age; low ones wait while higher ones are queued.
             * @default 0
             */
            priority?: number;
            /** @description URL that receives a webhook when the job has ended: https, on the public internet. */
            callback_url?: string | null;
            /**
             * @description Events that `callback_url` receives: job.succeeded, job.failed or job.canceled, or several.
             * @default [
             *       "job.succeeded",
             *       "job.failed",
             *       "job.canceled"
             *     ]
             */
            webhook_events?: ("job.succeeded" | "job.failed" | "job.canceled")[];
            /** @description Seconds from the acceptance of the job, after which it is canceled if it has not ended. */
            cancel_after?: number | null;
            /**
             * @description Data of the caller, returned with the job: up to 16 strings of up to 256 characters, 4096 bytes in total. In a form as JSON: {"order": "17"}.
             * @default {}
             */
            metadata?: {
                [key: string]: string;
            };
            /** @description Numbers of the takes to render, from 1. Default: all. */
            takes?: number[] | null;
        };
        /** @description Progress of one stage. */
        StageView: {
            name: string;
            progress: number;
        };
        /**
         * @description State of a job: queued -> running -> succeeded | failed | canceled.
         * @enum {string}
         */
        State: "queued" | "running" | "succeeded" | "failed" | "canceled";
        /** @description One try to send a delivery. */
        TryView: {
            /** Format: date-time */
            at: string;
            /** @description Status of the answer; null without an answer. */
            status: number | null;
            milliseconds: number;
            /** @description Reason of a failed try; null after a success. */
            error: string | null;
        };
        /** @description The file to upload. */
        UploadAnnouncement: {
            /** @description Size of the whole file. */
            bytes: number;
        };
        /** @description An upload in progress, or complete. */
        UploadView: {
            id: string;
            /**
             * @description open, then ready.
             * @enum {string}
             */
            state: "open" | "ready";
            bytes: number;
            /** Format: date-time */
            created_at: string;
            /**
             * Format: date-time
             * @description The upload is removed after this time.
             */
            expires_at: string;
            /** @description Length of the clip once it is ready. */
            clip_seconds: number | null;
            /** @description Parts to send; empty once it is ready. */
            parts: components["schemas"]["PartView"][];
        };
        /** @description A defect of the clip with which the job still runs. */
        WarningView: {
            code: string;
            detail: string;
        };
        /** @description One invalid field. */
        FieldError: {
            field: string;
            detail: string;
        };
        /**
         * @description Stable identifier of a problem, for programs.
         * @enum {string}
         */
        ProblemCode: "malformed_body" | "part_incomplete" | "key_missing" | "key_invalid" | "host_unknown" | "origin_not_allowed" | "scope_missing" | "link_invalid" | "route_not_found" | "job_not_found" | "output_not_found" | "file_not_found" | "delivery_not_found" | "upload_not_found" | "batch_not_found" | "method_not_allowed" | "upload_too_slow" | "job_not_finished" | "job_without_outputs" | "idempotency_key_reused" | "part_missing" | "motion_missing" | "motion_outdated" | "job_has_ended" | "job_not_retryable" | "output_expired" | "input_expired" | "upload_too_large" | "body_type_unsupported" | "audio_type_unsupported" | "range_not_satisfiable" | "invalid_request" | "audio_url_refused" | "audio_url_failed" | "upload_unknown" | "upload_incomplete" | "take_unknown" | "person_unknown" | "view_unknown" | "size_unsupported" | "callback_url_refused" | "clip_too_long" | "clip_too_short" | "audio_empty" | "audio_missing" | "audio_damaged" | "audio_unreadable" | "partner_channels" | "audio_channels" | "audio_sample_rate" | "rate_limited" | "quota_jobs" | "quota_seconds" | "quota_bytes" | "internal_error" | "uploads_busy" | "storage_unavailable" | "database_unavailable" | "not_ready" | "storage_full";
        /** @description An error in the format of RFC 9457. */
        Problem: {
            /**
             * @description about:blank: `code` identifies the problem
             * @example about:blank
             */
            type: string;
            /** @description Reason phrase of the status. */
            title: string;
            status: number;
            code: components["schemas"]["ProblemCode"];
            /** @description The problem, the value, and the fix. */
            detail: string;
            /**
             * @description One entry for each invalid field.
             * @default null
             */
            errors?: components["schemas"]["FieldError"][] | null;
            /**
             * @description Identifies an internal error in the server's log.
             * @default null
             */
            incident?: string | null;
            /**
             * @description `limit`, `used`, and the amount `asked` for beyond.
             * @default null
             */
            quota?: {
                [key: string]: number;
            } | null;
            /**
             * @description Results of /readyz.
             * @default null
             */
            checks?: {
                [key: string]: string;
            } | null;
        };
        /** @description Form body of POST /generate. */
        GenerateForm: {
            /**
             * @description The person to show: a name from GET /people.
             * @default demo
             */
            person?: string;
            /**
             * @description Number of different takes to sample.
             * @default 1
             */
            takes?: number;
            /** @description The same seed gives the same motion. Default: random, returned with the job. */
            seed?: number;
            /** @description Spread of the sampled key poses (top-p). */
            diversity?: number;
            /** @description Guidance scale of the face: how closely it follows the audio. */
            guidance_face?: number;
            /** @description Guidance scale of the body: how closely it follows the audio. */
            guidance_body?: number;
            /** @description Denoising steps: more is slower and finer. */
            steps?: number;
            /**
             * @description Channel of the person in a recording of two channels; with a file for each person, right shows the partner.
             * @default left
             * @enum {string}
             */
            person_channel?: "left" | "right";
            /** @description Size of one view in pixels: "WxH", or "N" for NxN. */
            size?: string;
            /** @description Cameras of the person, side by side in this order: up to 4 names from GET /people. */
            views?: string[];
            /**
             * @description Kinds of result: video or motion, or several.
             * @default [
             *       "video"
             *     ]
             */
            outputs?: ("video" | "motion")[];
            /**
             * @description Format of the video: mp4: MP4 (H.264), mov: QuickTime (ProRes 4444), webm: WebM (VP9), png: zip of PNG pictures with the audio as WAV. Transparent backgrounds need mov, webm or png.
             * @default mp4
             * @enum {string}
             */
            format?: "mp4" | "mov" | "webm" | "png";
            /** @description Colour behind the person, such as "#20242c", or "transparent" in a format with alpha, where it is the default. */
            background?: string;
            /** @description Samples along each side of a pixel: more is slower, with smoother edges. Times the longer side of `size` at most 4096. */
            supersampling?: number;
            /**
             * @description Within a tenant, higher priorities run first, equal ones by age; low ones wait while higher ones are queued.
             * @default 0
             */
            priority?: number;
            /** @description URL that receives a webhook when the job has ended: https, on the public internet. */
            callback_url?: string;
            /**
             * @description Events that `callback_url` receives: job.succeeded, job.failed or job.canceled, or several.
             * @default [
             *       "job.succeeded",
             *       "job.failed",
             *       "job.canceled"
             *     ]
             */
            webhook_events?: ("job.succeeded" | "job.failed" | "job.canceled")[];
            /** @description Seconds from the acceptance of the job, after which it is canceled if it has not ended. */
            cancel_after?: number;
            /**
             * @description Data of the caller, returned with the job: up to 16 strings of up to 256 characters, 4096 bytes in total. In a form as JSON: {"order": "17"}.
             * @default {}
             */
            metadata?: string;
            /** @description Id of the partner's clip from POST /uploads, if each person has a file. */
            partner_upload_id?: string;
            /** @description Id of a clip from POST /uploads. */
            upload_id?: string;
            /** @description URL of the clip: https, on the public internet; if the operator allows it. */
            audio_url?: string;
            /**
             * Format: binary
             * @description The recording, one or two channels.
             */
            audio?: Blob;
            /**
             * Format: binary
             * @description The partner, if each person has a file of one channel.
             */
            partner?: Blob;
        };
        /** @description JSON body of POST /generate. */
        GenerateBody: {
            /**
             * @description The person to show: a name from GET /people.
             * @default demo
             */
            person?: string;
            /**
             * @description Number of different takes to sample.
             * @default 1
             */
            takes?: number;
            /**
             * @description The same seed gives the same motion. Default: random, returned with the job.
             * @default null
             */
            seed?: number | null;
            /**
             * @description Spread of the sampled key poses (top-p).
             * @default null
             */
            diversity?: number | null;
            /**
             * @description Guidance scale of the face: how closely it follows the audio.
             * @default null
             */
            guidance_face?: number | null;
            /**
             * @description Guidance scale of the body: how closely it follows the audio.
             * @default null
             */
            guidance_body?: number | null;
            /**
             * @description Denoising steps: more is slower and finer.
             * @default null
             */
            steps?: number | null;
            /**
             * @description Channel of the person in a recording of two channels; with a file for each person, right shows the partner.
             * @default left
             * @enum {string}
             */
            person_channel?: "left" | "right";
            /**
             * @description Size of one view in pixels: "WxH", or "N" for NxN.
             * @default null
             */
            size?: string | null;
            /**
             * @description Cameras of the person, side by side in this order: up to 4 names from GET /people.
             * @default null
             */
            views?: string[] | null;
            /**
             * @description Kinds of result: video or motion, or several.
             * @default [
             *       "video"
             *     ]
             */
            outputs?: ("video" | "motion")[];
            /**
             * @description Format of the video: mp4: MP4 (H.264), mov: QuickTime (ProRes 4444), webm: WebM (VP9), png: zip of PNG pictures with the audio as WAV. Transparent backgrounds need mov, webm or png.
             * @default mp4
             * @enum {string}
             */
            format?: "mp4" | "mov" | "webm" | "png";
            /**
             * @description Colour behind the person, such as "#20242c", or "transparent" in a format with alpha, where it is the default.
             * @default null
             */
            background?: string | null;
            /**
             * @description Samples along each side of a pixel: more is slower, with smoother edges. Times the longer side of `size` at most 4096.
             * @default null
             */
            supersampling?: number | null;
            /**
             * @description Within a tenant, higher priorities run first, equal ones by age; low ones wait while higher ones are queued.
             * @default 0
             */
            priority?: number;
            /**
             * @description URL that receives a webhook when the job has ended: https, on the public internet.
             * @default null
             */
            callback_url?: string | null;
            /**
             * @description Events that `callback_url` receives: job.succeeded, job.failed or job.canceled, or several.
             * @default [
             *       "job.succeeded",
             *       "job.failed",
             *       "job.canceled"
             *     ]
             */
            webhook_events?: ("job.succeeded" | "job.failed" | "job.canceled")[];
            /**
             * @description Seconds from the acceptance of the job, after which it is canceled if it has not ended.
             * @default null
             */
            cancel_after?: number | null;
            /**
             * @description Data of the caller, returned with the job: up to 16 strings of up to 256 characters, 4096 bytes in total. In a form as JSON: {"order": "17"}.
             * @default {}
             */
            metadata?: {
                [key: string]: string;
            };
            /**
             * @description Id of the partner's clip from POST /uploads, if each person has a file.
             * @default null
             */
            partner_upload_id?: string | null;
            /**
             * @description Id of a clip from POST /uploads.
             * @default null
             */
            upload_id?: string | null;
            /**
             * @description URL of the clip: https, on the public internet; if the operator allows it.
             * @default null
             */
            audio_url?: string | null;
            /**
             * @description The recording, in base64.
             * @default null
             */
            audio?: string | null;
            /**
             * @description The partner in base64, if each person has a file of one channel.
             * @default null
             */
            partner?: string | null;
        };
        /** @description One item of POST /batches. */
        BatchEntry: {
            /**
             * @description The person to show: a name from GET /people.
             * @default demo
             */
            person?: string;
            /**
             * @description Number of different takes to sample.
             * @default 1
             */
            takes?: number;
            /**
             * @description The same seed gives the same motion. Default: random, returned with the job.
             * @default null
             */
            seed?: number | null;
            /**
             * @description Spread of the sampled key poses (top-p).
             * @default null
             */
            diversity?: number | null;
            /**
             * @description Guidance scale of the face: how closely it follows the audio.
             * @default null
             */
            guidance_face?: number | null;
            /**
             * @description Guidance scale of the body: how closely it follows the audio.
             * @default null
             */
            guidance_body?: number | null;
            /**
             * @description Denoising steps: more is slower and finer.
             * @default null
             */
            steps?: number | null;
            /**
             * @description Channel of the person in a recording of two channels; with a file for each person, right shows the partner.
             * @default left
             * @enum {string}
             */
            person_channel?: "left" | "right";
            /**
             * @description Size of one view in pixels: "WxH", or "N" for NxN.
             * @default null
             */
            size?: string | null;
            /**
             * @description Cameras of the person, side by side in this order: up to 4 names from GET /people.
             * @default null
             */
            views?: string[] | null;
            /**
             * @description Kinds of result: video or motion, or several.
             * @default [
             *       "video"
             *     ]
             */
            outputs?: ("video" | "motion")[];
            /**
             * @description Format of the video: mp4: MP4 (H.264), mov: QuickTime (ProRes 4444), webm: WebM (VP9), png: zip of PNG pictures with the audio as WAV. Transparent backgrounds need mov, webm or png.
             * @default mp4
             * @enum {string}
             */
            format?: "mp4" | "mov" | "webm" | "png";
            /**
             * @description Colour behind the person, such as "#20242c", or "transparent" in a format with alpha, where it is the default.
             * @default null
             */
            background?: string | null;
            /**
             * @description Samples along each side of a pixel: more is slower, with smoother edges. Times the longer side of `size` at most 4096.
             * @default null
             */
            supersampling?: number | null;
            /**
             * @description Within a tenant, higher priorities run first, equal ones by age; low ones wait while higher ones are queued.
             * @default 0
             */
            priority?: number;
            /**
             * @description URL that receives a webhook when the job has ended: https, on the public internet.
             * @default null
             */
            callback_url?: string | null;
            /**
             * @description Events that `callback_url` receives: job.succeeded, job.failed or job.canceled, or several.
             * @default [
             *       "job.succeeded",
             *       "job.failed",
             *       "job.canceled"
             *     ]
             */
            webhook_events?: ("job.succeeded" | "job.failed" | "job.canceled")[];
            /**
             * @description Seconds from the acceptance of the job, after which it is canceled if it has not ended.
             * @default null
             */
            cancel_after?: number | null;
            /**
             * @description Data of the caller, returned with the job: up to 16 strings of up to 256 characters, 4096 bytes in total. In a form as JSON: {"order": "17"}.
             * @default {}
             */
            metadata?: {
                [key: string]: string;
            };
            /**
             * @description Id of the partner's clip from POST /uploads, if each person has a file.
             * @default null
             */
            partner_upload_id?: string | null;
            /** @description Id of a clip from POST /uploads. */
            upload_id: string;
        };
        /** @description Several requests. */
        BatchRequest: {
            items: components["schemas"]["BatchEntry"][];
        };
        /** @description An ended job. */
        EventJob: {
            id: string;
            /** @description Tenant of the key that submitted the job. */
            tenant: string;
            state: components["schemas"]["State"];
            attempt: number;
            max_attempts: number;
            /** Format: date-time */
            created_at: string;
            started_at: string | null;
            finished_at: string | null;
            clip_seconds: number;
            priority: number;
            /** @description As submitted. */
            metadata: {
                [key: string]: string;
            };
            /** @description Id of the batch that the job belongs to. */
            batch: string | null;
            /** @description Receives a webhook when the job has ended. */
            callback_url: string | null;
            /** @description Events that `callback_url` receives. */
            webhook_events: ("job.succeeded" | "job.failed" | "job.canceled")[];
            /** @description As submitted, in seconds. */
            cancel_after: number | null;
            /** @description The job is canceled at this time if it has not ended; null: never. */
            cancel_at: string | null;
            request: components["schemas"]["JobRequest"];
            outputs: components["schemas"]["EventOutput"][];
            /** @description Defects of the clip. */
            warnings: components["schemas"]["WarningView"][];
            error: components["schemas"]["ErrorView"] | null;
        };
        /** @description One output file. */
        EventOutput: {
            name: string;
            content_type: string;
            bytes: number;
            /** @description Permanent; needs a key that may read the job. */
            path: string;
        };
        /** @description Body of a webhook. */
        JobEvent: {
            /** @enum {string} */
            type: "job.succeeded" | "job.failed" | "job.canceled";
            /**
             * Format: date-time
             * @description Time of the event.
             */
            timestamp: string;
            /** @description The job as in GET /jobs/{id}, without progress, expiry and signed links. */
            data: components["schemas"]["EventJob"];
        };
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: {
        /** @description Id of the request in the server's log; that of the request's header `X-Request-ID`, if it has one. */
        "X-Request-ID": string;
    };
    pathItems: never;
}
export type $defs = Record<string, never>;
export interface operations {
    generate: {
        parameters: {
            query?: never;
            header?: {
                /** @description 1 to 255 visible ASCII characters. The same key, fields and audio give the same job; kept for 24 hours after the job has ended. */
                "Idempotency-Key"?: string;
                /** @description `wait=N`: answer up to N seconds later, at most 60. */
                Prefer?: string;
                /** @description Seconds, as the field `cancel_after`; where the body cannot change. */
                "Cancel-After"?: number;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: never;
    };
    create_upload: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: never;
    };
    get_upload: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Returned by POST /uploads. */
                upload_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: never;
    };
    complete_upload: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Returned by POST /uploads. */
                upload_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: never;
    };
    create_batch: {
        parameters: {
            query?: never;
            header?: {
                /** @description 1 to 255 visible ASCII characters. The same key, fields and audio give the same job; kept for 24 hours after the job has ended. */
                "Idempotency-Key"?: string;
                /** @description Seconds, as the field `cancel_after`; where the body cannot change. */
                "Cancel-After"?: number;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: never;
    };
    get_batch: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Returned by POST /batches. */
                batch_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: never;
    };
    cancel_batch: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Returned by POST /batches. */
                batch_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: never;
    };
    list_jobs: {
        parameters: {
            query?: {
                /** @description Number of jobs in one page. */
                limit?: number;
                /** @description `next` of the previous page; other parameters unchanged. */
                cursor?: string;
                /** @description Only jobs in this state; repeat it for several states. */
                state?: components["schemas"]["State"][];
                /** @description Only jobs of this person. */
                person?: string;
                /** @description Only jobs of this batch. */
                batch?: string;
                /** @description Only jobs of this tenant; needs an admin key for any tenant but the key's. */
                tenant?: string;
                /** @description Created at or after this time, with a zone: 2026-05-04T12:00:00Z. */
                created_after?: string;
                /** @description Created before this time. */
                created_before?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: never;
    };
    get_job: {
        parameters: {
            query?: never;
            header?: {
                /** @description `wait=N`: answer up to N seconds later, at most 60. */
                Prefer?: string;
                /** @description An earlier `ETag`: 304 when nothing has changed. */
                "If-None-Match"?: string;
            };
            path: {
                /** @description Returned by POST /generate. */
                job_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: never;
    };
    delete_job: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Returned by POST /generate. */
                job_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: never;
    };
    cancel_job: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Returned by POST /generate. */
                job_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: never;
    };
    retry_job: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Returned by POST /generate. */
                job_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: never;
    };
    download_output: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Returned by POST /generate. */
                job_id: string;
                /** @description From the job's `outputs`. */
                name: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: never;
    };
    render_job: {
        parameters: {
            query?: never;
            header?: {
                /** @description 1 to 255 visible ASCII characters. The same key, fields and audio give the same job; kept for 24 hours after the job has ended. */
                "Idempotency-Key"?: string;
                /** @description Seconds, as the field `cancel_after`; where the body cannot change. */
                "Cancel-After"?: number;
            };
            path: {
                /** @description Returned by POST /generate. */
                job_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: never;
    };
    stream_job_events: {
        parameters: {
            query?: never;
            header?: {
                /** @description `id` of the last received event. */
                "Last-Event-ID"?: string;
            };
            path: {
                /** @description Returned by POST /generate. */
                job_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: never;
    };
    list_deliveries: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Returned by POST /generate. */
                job_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: never;
    };
    redeliver: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Returned by POST /generate. */
                job_id: string;
                /** @description From the list. */
                delivery_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: never;
    };
    list_people: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: never;
    };
    download_file: {
        parameters: {
            query: {
                name: string;
                expires: string;
                signature: string;
            };
            header?: never;
            path: {
                key: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: never;
    };
    upload_part: {
        parameters: {
            query: {
                bytes: number;
                expires: string;
                signature: string;
            };
            header?: never;
            path: {
                key: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: never;
    };
    get_health: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: never;
    };
    get_readiness: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: never;
    };
}
