package io.github.goconductor.spring;

import io.github.goconductor.ActionException;
import io.github.goconductor.Attempt;
import io.github.goconductor.GoConductorException;
import io.github.goconductor.Json;
import io.github.goconductor.inbox.Decision;
import io.github.goconductor.inbox.Inbox;
import io.github.goconductor.inbox.Verdict;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.function.Consumer;
import java.util.function.Supplier;
import javax.sql.DataSource;
import org.springframework.jdbc.datasource.DataSourceUtils;
import org.springframework.transaction.support.TransactionOperations;

/**
 * The inbox of Spring transactions. In a method with {@code @Transactional}, the record of the inbox belongs to the
 * transaction of the method. Without a transaction, the inbox begins one.
 *
 * <pre>{@code
 * @Transactional
 * public Payment charge(Attempt attempt, Order order) {
 *     return inbox.execute(attempt, Payment.class, () -> payments.save(new Payment(order)));
 * }
 * }</pre>
 *
 * <p>The transaction must be one of the data source of the inbox. The outcome of a commit that fails is unknown, and the next attempt finds the record if the commit took effect.
 */
public final class TransactionalInbox {
    private final Inbox inbox;
    private final DataSource source;
    private final TransactionOperations transactions;

    /**
     * Creates an inbox.
     *
     * @param inbox the inbox in the data source
     * @param source the data source
     * @param transactions begins transactions of the data source, and joins the current one
     */
    public TransactionalInbox(Inbox inbox, DataSource source, TransactionOperations transactions) {
        this.inbox = inbox;
        this.source = source;
        this.transactions = transactions;
    }

    private interface Statement<T> {
        T run(Connection connection) throws SQLException;
    }

    /** Runs a statement of the inbox. Its transaction is rolled back if it fails. */
    private <T> T with(Statement<T> statement) {
        Connection connection = DataSourceUtils.getConnection(source);
        try {
            if (connection.getAutoCommit()) {
                // Its statements would be transactions of their own, without a lock between them.
                throw new IllegalStateException("the transaction does not contain the data source of the inbox: "
                        + "use the transaction manager of this data source");
            }
            return statement.run(connection);
        } catch (SQLException e) {
            throw ActionException.retryable("DATABASE", String.valueOf(e.getMessage())).withCause(e);
        } finally {
            DataSourceUtils.releaseConnection(connection, source);
        }
    }

    /**
     * Does the work of an action once, and records its output in the same transaction. A repeat returns the stored output.
     *
     * @param <O> the type of the output
     * @param attempt the attempt
     * @param type the class of the output
     * @param work the work, which is not called for a repeat
     * @return the output
     * @throws ActionException a refusal with the code {@code UNDONE} if the compensate arrived first
     */
    public <O> O execute(Attempt attempt, Class<O> type, Supplier<? extends O> work) {
        return transactions.execute(status -> {
            Decision decision = with(connection -> inbox.beginExecute(connection, attempt.key()));
            if (decision.verdict() == Verdict.REFUSED) {
                throw ActionException.refused("UNDONE", "the step was compensated before it was executed");
            }
            if (decision.verdict() == Verdict.REPEAT) {
                return stored(decision.output(), type);
            }
            O output = work.get();
            Json text;
            try {
                text = Json.of(output);
            } catch (GoConductorException e) {
                throw ActionException.unknown("BAD_OUTPUT", e.getMessage()).withCause(e);
            }
            with(connection -> {
                inbox.finishExecute(connection, attempt.key(), text);
                return true;
            });
            return output;
        });
    }

    /**
     * Undoes the work of an action once, and records this in the same transaction.
     *
     * @param <O> the type of the output of the execute
     * @param attempt the attempt
     * @param type the class of the output of the execute
     * @param work the work, which receives the output; it is not called for a repeat, and if the execute never arrived
     */
    public <O> void compensate(Attempt attempt, Class<O> type, Consumer<? super O> work) {
        transactions.executeWithoutResult(status -> {
            Decision decision = with(connection -> inbox.beginCompensate(connection, attempt.key()));
            if (decision.verdict() == Verdict.FIRST) {
                work.accept(stored(decision.output(), type));
                with(connection -> {
                    inbox.finishCompensate(connection, attempt.key(), Json.NULL);
                    return true;
                });
            }
        });
    }

    private static <O> O stored(Json output, Class<O> type) {
        try {
            return output.as(type);
        } catch (GoConductorException e) {
            throw ActionException.unknown(
                    "STORED_OUTPUT", "the inbox has an output of another form: " + e.getMessage()).withCause(e);
        }
    }
}
