/// Delivers batches that background threads prepare ahead of the training step.
///
/// ```swift
/// let loader = try training.batches(options, epoch: 0)
/// while let batch = try loader.next() { … }
/// ```
///
/// One thread takes the batches. A loader is for one pass; a loader made before the previous one has
/// ended fills its queue meanwhile. Letting go of a loader stops its work after the samples under way.
public final class BatchLoader<Batch: Sendable> {
  /// The number of batches that the pass has.
  public let batchCount: Int

  let prefetcher: Prefetcher<Batch>

  /// The time in seconds that `next()` has waited for data so far; nearly 0 when the workers keep up.
  ///
  /// The first batch of a new loader is always waited for.
  public var waitSeconds: Double { prefetcher.waitSeconds }

  /// Starts preparing this worker's batches of the rounds that a plan leaves.
  ///
  /// - Parameters:
  ///   - depth: batches prepared ahead.
  ///   - workers: background threads.
  ///   - prepare: makes the batch of a range of samples; may return `nil` once it is told that nobody will take it.
  init(
    _ plan: BatchPlan, depth: Int = 4, workers: Int = 1,
    prepare: @escaping @Sendable (_ samples: Range<Int>, _ isCancelled: () -> Bool) throws -> Batch?
  ) {
    batchCount = plan.roundCount
    prefetcher = Prefetcher(count: batchCount, depth: depth, workers: workers) { index, isCancelled in
      try prepare(plan.batch(inRound: index).samples, isCancelled)
    }
  }

  /// Waits for the next batch; `nil` after the last one.
  ///
  /// - Throws: an error that a worker met; the loader is at its end then.
  public func next() throws -> Batch? { try prefetcher.next() }
}
