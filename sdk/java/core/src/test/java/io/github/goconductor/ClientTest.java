package io.github.goconductor;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.Any;
import com.google.rpc.Code;
import com.google.rpc.RetryInfo;
import com.google.rpc.Status;
import io.github.goconductor.v1.GetWorkflowRequest;
import io.github.goconductor.v1.GetWorkflowResponse;
import io.github.goconductor.v1.StartWorkflowRequest;
import io.github.goconductor.v1.StartWorkflowResponse;
import io.github.goconductor.v1.WorkflowServiceGrpc;
import io.grpc.Grpc;
import io.grpc.InsecureServerCredentials;
import io.grpc.Server;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;

final class ClientTest {
    /** A gateway that is overloaded, and that answers no read. */
    private static final class Gateway extends WorkflowServiceGrpc.WorkflowServiceImplBase {
        final AtomicInteger starts = new AtomicInteger();
        final CountDownLatch refused = new CountDownLatch(1);
        final CountDownLatch read = new CountDownLatch(1);
        final CountDownLatch cancelled = new CountDownLatch(1);

        @Override
        public void startWorkflow(StartWorkflowRequest request, StreamObserver<StartWorkflowResponse> response) {
            starts.incrementAndGet();
            RetryInfo retry = RetryInfo.newBuilder().setRetryDelay(Wire.duration(Duration.ofMillis(300))).build();
            response.onError(StatusProto.toStatusRuntimeException(Status.newBuilder()
                    .setCode(Code.RESOURCE_EXHAUSTED_VALUE).setMessage("overloaded").addDetails(Any.pack(retry)).build()));
            refused.countDown();
        }

        @Override
        public void getWorkflow(GetWorkflowRequest request, StreamObserver<GetWorkflowResponse> response) {
            ((ServerCallStreamObserver<GetWorkflowResponse>) response).setOnCancelHandler(cancelled::countDown);
            read.countDown();
        }
    }

    private interface Check {
        void run(Gateway gateway, Client client) throws Exception;
    }

    private static void with(Check check) throws Exception {
        Gateway gateway = new Gateway();
        Server server = Grpc.newServerBuilderForPort(0, InsecureServerCredentials.create()).addService(gateway).build();
        try {
            server.start();
            try (Client client = Client.connect("http://127.0.0.1:" + server.getPort())) {
                check.run(gateway, client);
            }
        } finally {
            server.shutdownNow();
        }
    }

    @Test
    void cancelledStartIsNotRetried() throws Exception {
        with((gateway, client) -> {
            CompletableFuture<Handle> start = client.startAsync("shop", StartOptions.defaults());
            assertTrue(gateway.refused.await(10, TimeUnit.SECONDS));
            Thread.sleep(100);
            start.cancel(true);
            Thread.sleep(500);
            assertEquals(1, gateway.starts.get());
        });
    }

    @Test
    void cancelledFutureCancelsItsCall() throws Exception {
        with((gateway, client) -> {
            CompletableFuture<Description> state = client.workflow("w").describeAsync();
            assertTrue(gateway.read.await(10, TimeUnit.SECONDS));
            state.cancel(true);
            assertTrue(gateway.cancelled.await(10, TimeUnit.SECONDS));
        });
    }

    @Test
    void interruptedRunKeepsTheInterrupt() throws InterruptedException {
        Service shop = Service.builder("shop").handle("charge", (attempt, input) -> input).build();
        try (Client client = Client.builder("http://127.0.0.1:1").executors(List.of("http://127.0.0.1:1")).build()) {
            boolean[] interrupted = new boolean[1];
            Thread thread = new Thread(() -> {
                client.run(shop);
                interrupted[0] = Thread.currentThread().isInterrupted();
            });
            thread.start();
            thread.interrupt();
            thread.join(TimeUnit.SECONDS.toMillis(20));
            assertTrue(interrupted[0]);
        }
    }
}
