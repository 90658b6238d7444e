package io.github.goconductor;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.goconductor.v1.ConnectRequest;
import io.github.goconductor.v1.ConnectResponse;
import io.github.goconductor.v1.Drain;
import io.github.goconductor.v1.DrainAck;
import io.github.goconductor.v1.Task;
import io.github.goconductor.v1.TaskResult;
import io.github.goconductor.v1.Welcome;
import io.github.goconductor.v1.WorkerServiceGrpc;
import io.grpc.Grpc;
import io.grpc.InsecureServerCredentials;
import io.grpc.Server;
import io.grpc.stub.StreamObserver;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

final class DrainTest {
    /** An executor whose task crosses the drain of the worker. */
    private static final class Executor extends WorkerServiceGrpc.WorkerServiceImplBase {
        private final boolean acknowledges;
        private final boolean drainsFirst;
        private final long delay;
        final BlockingQueue<TaskResult> results = new LinkedBlockingQueue<>();
        final CountDownLatch closed = new CountDownLatch(1);

        Executor(boolean acknowledges, boolean drainsFirst, long delay) {
            this.acknowledges = acknowledges;
            this.drainsFirst = drainsFirst;
            this.delay = delay;
        }

        @Override
        public StreamObserver<ConnectRequest> connect(StreamObserver<ConnectResponse> responses) {
            return new StreamObserver<>() {
                @Override
                public void onNext(ConnectRequest request) {
                    switch (request.getMessageCase()) {
                        case HELLO -> {
                            responses.onNext(ConnectResponse.newBuilder().setWelcome(Welcome.newBuilder()
                                    .setLease(Wire.duration(Duration.ofSeconds(20)))
                                    .setAcknowledgesDrain(acknowledges)).build());
                            if (drainsFirst) {
                                responses.onNext(ConnectResponse.newBuilder().setDrain(Drain.getDefaultInstance()).build());
                            }
                        }
                        case DRAIN -> drained(responses);
                        case RESULT -> results.add(request.getResult());
                        default -> { }
                    }
                }

                @Override
                public void onError(Throwable failure) {
                    closed.countDown();
                }

                @Override
                public void onCompleted() {
                    responses.onCompleted();
                    closed.countDown();
                }
            };
        }

        private void drained(StreamObserver<ConnectResponse> responses) {
            try {
                Thread.sleep(TimeUnit.NANOSECONDS.toMillis(delay));
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
            responses.onNext(ConnectResponse.newBuilder().setTask(Task.newBuilder().setTaskId(7).setAction("charge")
                    .setAttempt(1).setInputJson("1").setTimeout(Wire.duration(Duration.ofSeconds(20)))).build());
            if (acknowledges) {
                responses.onNext(ConnectResponse.newBuilder().setDrainAck(DrainAck.getDefaultInstance()).build());
            }
        }
    }

    private interface Check {
        void run(Worker worker) throws Exception;
    }

    private static void with(Executor executor, Check check) throws Exception {
        Server server = Grpc.newServerBuilderForPort(0, InsecureServerCredentials.create()).addService(executor).build();
        try {
            server.start();
            Service shop = Service.builder("shop").handle("charge", (attempt, input) -> input).build();
            String address = "http://127.0.0.1:" + server.getPort();
            try (Client client = Client.builder("http://127.0.0.1:1").executors(List.of(address)).build();
                    Worker worker = client.serve(shop)) {
                worker.connected();
                check.run(worker);
            }
        } finally {
            server.shutdownNow();
        }
    }

    @Test
    void taskThatCrossesTheDrainIsFinished() throws Exception {
        Executor executor = new Executor(true, false, 3 * DrainProgress.GRACE);
        with(executor, worker -> {
            worker.shutdown();
            TaskResult result = executor.results.poll();
            assertEquals("1", result == null ? "no result" : result.getDone().getOutputJson());
        });
    }

    @Test
    void idleWorkerWaitsForTasksOfAnEarlierExecutor() throws Exception {
        with(new Executor(false, false, 0), worker -> {
            long start = System.nanoTime();
            worker.shutdown();
            assertTrue(System.nanoTime() - start >= DrainProgress.GRACE);
        });
    }

    @Test
    void workerClosesTheStreamOfAnExecutorThatDrained() throws Exception {
        Executor executor = new Executor(true, true, 0);
        with(executor, worker -> assertTrue(executor.closed.await(10, TimeUnit.SECONDS)));
    }
}
