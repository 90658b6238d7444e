import { QueryClientProvider } from "@tanstack/react-query";
import { Suspense, useMemo } from "react";
import { Route, Router, Switch, useLocation } from "wouter";
import { LiveProvider } from "./api/live";
import { createQueryClient } from "./api/query";
import { baseOf, currentNamespace } from "./api/session";
import { pages } from "./routes";
import { s } from "./strings";
import { Empty, ErrorBoundary, Loading } from "./ui/States";
import { SessionGate } from "./ui/SessionGate";
import { Shell } from "./ui/Shell";

/** The console. Another namespace is another load of the page, so that no data of one is shown in the other. */
export function App() {
  const namespace = useMemo(currentNamespace, []);
  const client = useMemo(createQueryClient, []);
  return (
    <QueryClientProvider client={client}>
      <Router base={baseOf(namespace)}>
        <SessionGate>
          <LiveProvider>
            <Shell namespace={namespace}>
              <Pages />
            </Shell>
          </LiveProvider>
        </SessionGate>
      </Router>
    </QueryClientProvider>
  );
}

function Pages() {
  const [location] = useLocation();
  return (
    <ErrorBoundary key={location}>
      <Suspense fallback={<Loading />}>
        <Switch>
          {pages.map((page) => <Route key={page.path} path={page.path} component={page.component} />)}
          <Route><Empty title={s.errors.notFound} hint={s.errors.notFoundHint} /></Route>
        </Switch>
      </Suspense>
    </ErrorBoundary>
  );
}
