# DeLong's test with pROC, Holm's correction and the power of Student's t with R: Rscript with_r.R > r.json (in this folder)
suppressMessages(library(pROC))
cases <- read.csv("scores.csv")

delong <- function(a, b) {
  of_a <- roc(cases$y, a, levels = c(0, 1), direction = "<", quiet = TRUE)
  of_b <- roc(cases$y, b, levels = c(0, 1), direction = "<", quiet = TRUE)
  test <- roc.test(of_a, of_b, paired = TRUE, method = "delong")
  error <- sqrt(var(of_a, method = "delong") + var(of_b, method = "delong") - 2 * cov(of_a, of_b, method = "delong"))
  sprintf('{"auroc_a": %.12f, "auroc_b": %.12f, "error": %.12f, "z": %.12f, "p": %.12f}',
          auc(of_a), auc(of_b), error, test$statistic, test$p.value)
}
holm <- paste(sprintf("%.12f", p.adjust(c(0.0121, 0.0480, 0.0007, 0.2600, 0.0480, 0.0132), "holm")), collapse = ", ")
power <- sapply(c(3, 5, 30), function(n)
  power.t.test(n = n, power = 0.8, sig.level = 0.05, type = "one.sample", tol = 1e-12)$delta * sqrt(n))

cat(sprintf('{\n  "versions": "R %s, pROC %s",\n', getRversion(), packageVersion("pROC")))
cat(sprintf('  "delong_ties": %s,\n  "delong": %s,\n', delong(cases$a, cases$b), delong(cases$a, cases$c)))
cat(sprintf('  "holm": [%s],\n  "detectable": [%s]\n}\n', holm, paste(sprintf("%.9f", power), collapse = ", ")))
