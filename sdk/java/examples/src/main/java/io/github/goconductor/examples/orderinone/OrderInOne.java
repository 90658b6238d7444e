// The order saga in one program: two steps, each with its compensation.
package io.github.goconductor.examples.orderinone;

import io.github.goconductor.ActionException;
import io.github.goconductor.GoConductor;
import io.github.goconductor.StartOptions;
import io.github.goconductor.StepContext;
import io.github.goconductor.StepFunction;
import io.github.goconductor.Workflow;
import io.github.goconductor.WorkflowStep;
import java.util.List;

final class OrderInOne {
    public static void main(String[] arguments) {
        var workflow = new Workflow("Order Processing",
                new WorkflowStep("Process Payment", say("charged"), say("refunded")),
                new WorkflowStep("Update Inventory", OrderInOne::reserve, say("released")));
        for (String sku : List.of("book", "sold-out")) {
            var order = GoConductor.startWorkflow(workflow, StartOptions.of(sku));
            System.out.println(sku + " " + order.result().status());
        }
    }

    private static StepFunction say(String text) {
        return step -> System.out.println(text);
    }

    private static void reserve(StepContext step) {
        if (step.input(String.class).equals("sold-out")) {
            throw ActionException.refused("SOLD_OUT", "the item is sold out");
        }
    }
}
