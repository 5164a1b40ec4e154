#if canImport(Glibc)
  @preconcurrency import Glibc
#elseif canImport(Musl)
  @preconcurrency import Musl
#else
  import Darwin
#endif

import NormaRecords
import NormaReport
import NormaTraining

/// Shows on standard error how far the trainings are: a bar on a terminal, a line per epoch elsewhere.
final class Progress {
  private let runs: Int
  private let epochs: Int
  /// Whether other processes do some of the runs.
  private let isShared: Bool
  private let clock = ContinuousClock()
  private var runIndex = 0
  private var runStart: ContinuousClock.Instant
  private var lastDrawn: ContinuousClock.Instant?
  private var name = ""
  /// Steps that were done before, where a training goes on.
  private var stepsBefore: Int?
  /// After the first steps, which take longer than the others.
  private var warm: (step: Int, time: ContinuousClock.Instant)?

  init(runs: Int, epochs: Int, isShared: Bool = false) {
    self.runs = runs
    self.epochs = epochs
    self.isShared = isShared
    runStart = clock.now
  }

  func begin(_ name: String, index: Int) {
    self.name = name
    runIndex = index
    runStart = clock.now
    (stepsBefore, warm) = (nil, nil)
  }

  func step(_ progress: TrainingProgress) {
    guard log.showsProgress else { return }
    let now = clock.now
    let done = (progress.epoch - 1) * progress.stepsPerEpoch + progress.step
    let before = stepsBefore ?? done - 1
    stepsBefore = before
    guard errorsAreOnTerminal else {
      // Lines come once per epoch here, which can be hours: tell early how long all will take.
      if done == before + 5 { warm = (done, now) }
      if runIndex == 0, done == before + min(15, max(2, progress.stepsPerEpoch)) {
        let from = warm.flatMap { $0.step < done ? $0 : nil } ?? (step: before, time: runStart)
        let perStep = (now - from.time) / .seconds(1) / Double(done - from.step)
        let all = perStep * Double(epochs * progress.stepsPerEpoch * runs - before)
        log.info(
          "about \(NormaReport.clock(all)) for the whole run\(isShared ? " by one process alone" : ""), by the first steps"
        )
      }
      return
    }
    if let last = lastDrawn, now - last < .milliseconds(100), progress.step < progress.stepsPerEpoch { return }
    lastDrawn = now
    let total = epochs * progress.stepsPerEpoch
    let elapsed = (now - runStart) / .seconds(1)
    // The runs still to come are taken to need as long as this one.
    let perStep = elapsed / Double(done - before)
    let remaining = perStep * Double(total - done + total * (runs - runIndex - 1))
    let bar = Self.bar(Double(progress.step) / Double(progress.stepsPerEpoch))
    write(
      "\r\(name) \(progress.epoch)/\(epochs) \(bar) \(progress.step)/\(progress.stepsPerEpoch)  loss \(fixed(progress.loss, 4))  "
        + told(progress.scores) + "ETA \(NormaReport.clock(remaining))\u{1B}[K")
  }

  func epoch(_ record: EpochRecord) {
    guard log.showsProgress else { return }
    let start = errorsAreOnTerminal ? "\r" : ""
    let end = errorsAreOnTerminal ? "\u{1B}[K\n" : "\n"
    write(
      "\(start)\(name) epoch \(record.epoch)/\(epochs)  \(fixed(record.seconds, 1)) s  loss \(fixed(record.loss, 4))  "
        + told(record.scores) + "val loss \(fixed(record.validationLoss, 4))"
        + told(record.validationScores, prefix: "  val ", suffix: "") + end)
  }

  private func told(_ scores: [String: Double], prefix: String = "", suffix: String = "  ") -> String {
    ScoreName.allCases.compactMap { name in
      scores[name.rawValue].map { "\(prefix)\(name.shortTitle) \(fixed($0, 4))\(suffix)" }
    }.joined()
  }

  /// A bar of which a share of 0…1 is filled.
  static func bar(_ share: Double) -> String {
    let width = 20
    let filled = min(width, Int(share * Double(width)))
    return String(repeating: "█", count: filled) + String(repeating: "░", count: width - filled)
  }

  private func write(_ text: String) {
    fputs(text, stderr)
    fflush(stderr)
  }
}

/// A line on standard error that is written over until it is finished; without a terminal only finished lines.
final class LineProgress {
  func show(_ text: String) {
    if errorsAreOnTerminal, log.showsProgress { fputs("\r\(text)\u{1B}[K", stderr) }
  }

  func finish(_ text: String) { log.info("\(text)") }
}
