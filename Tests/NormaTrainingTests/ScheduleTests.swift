import Foundation
import NormaTraining
import Testing

@Suite struct ScheduleTests {
  private func factors(_ schedule: Schedule, _ steps: [Int], total: Int, perEpoch: Int = 3) -> [Double] {
    steps.map { schedule.factor(step: $0, totalSteps: total, stepsPerEpoch: perEpoch) }
  }

  private func expect(
    _ actual: [Double], _ expected: [Double], sourceLocation: SourceLocation = #_sourceLocation
  ) {
    #expect(actual.count == expected.count, sourceLocation: sourceLocation)
    for (a, b) in zip(actual, expected) { #expect(abs(a - b) < 1e-12, sourceLocation: sourceLocation) }
  }

  @Test func constantAndSteps() {
    expect(factors(.constant, [0, 5, 11], total: 12), [1, 1, 1])
    expect(
      factors(.step(epochs: 2, factor: 0.1), [0, 5, 6, 11, 12, 18], total: 20), [1, 1, 0.1, 0.1, 0.01, 0.001])
    expect(factors(.step(epochs: 1, factor: 0.5), [0, 2, 3, 6], total: 20), [1, 1, 0.5, 0.25])
  }

  @Test func cosine() {
    let root = 2.0.squareRoot()
    expect(factors(.cosine, [0, 1, 2, 3, 4], total: 4), [1, (2 + root) / 4, 0.5, (2 - root) / 4, 0])
  }

  @Test func plateausAsInPyTorch() throws {
    // torch.optim.lr_scheduler.ReduceLROnPlateau(patience=1, factor=0.5) of PyTorch 2.13, after each of these losses.
    let losses = [1.0, 0.9, 0.95, 0.89999, 0.9, 0.91, 0.92, 0.8, 0.8, 0.8, 0.8]
    let expected = [1.0, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.125, 0.125]
    let plateau = Schedule.plateau(patience: 1, factor: 0.5)
    for count in 0...losses.count {
      let factor = plateau.factor(
        step: 3 * count, totalSteps: 100, stepsPerEpoch: 3, validationLosses: Array(losses.prefix(count)))
      #expect(factor == (count == 0 ? 1 : expected[count - 1]), "after \(count) epochs")
    }
    #expect(try Schedule(parsing: "plateau:1:0.5") == plateau)
    #expect(try Schedule(parsing: plateau.name) == plateau)
    #expect(try Schedule(parsing: "plateau") == .plateau(patience: 10, factor: 0.1))
    #expect(throws: TrainingError.self) { try Schedule(parsing: "plateau:0") }
  }

  @Test func triangles() {
    expect(
      factors(.cyclic(halfCycle: 4, low: 0.2), Array(0...9), total: 100),
      [0.2, 0.4, 0.6, 0.8, 1, 0.8, 0.6, 0.4, 0.2, 0.4])
  }

  /// PyTorch's OneCycleLR: up until step 0.3 · total − 1, down until the last one.
  @Test func oneCycle() {
    let values = factors(.oneCycle, [0, 5, 12, 19], total: 20)
    expect(values, [1.0 / 25, 1, (1 + 1.0 / 250_000) / 2, 1.0 / 250_000])
    // In between, on the half cosines.
    func half(_ progress: Double, from start: Double, to end: Double) -> Double {
      let share = (1 + cos(Double.pi * progress)) / 2
      return end + (start - end) * share
    }
    expect(factors(.oneCycle, [1], total: 20), [half(0.2, from: 1.0 / 25, to: 1)])
    // A peak between two steps, at 2.3 of 10.
    expect(factors(.oneCycle, [3], total: 11), [half(0.7 / 7.7, from: 1, to: 1.0 / 250_000)])
    for total in 1...12 {
      #expect(factors(.oneCycle, Array(0..<total), total: total).allSatisfy { $0 > 0 && $0 <= 1 })
    }
  }

  @Test func names() throws {
    let all: [(String, Schedule)] = [
      ("constant", .constant), ("step", .step(epochs: 2, factor: 0.1)),
      ("step:3", .step(epochs: 3, factor: 0.1)),
      ("step:3:0.5", .step(epochs: 3, factor: 0.5)), ("cosine", .cosine),
      ("cyclic", .cyclic(halfCycle: 971, low: 0.1)), ("cyclic:10", .cyclic(halfCycle: 10, low: 0.1)),
      ("cyclic:10:1", .cyclic(halfCycle: 10, low: 1)), ("one-cycle", .oneCycle),
    ]
    for (text, schedule) in all {
      #expect(try Schedule(parsing: text) == schedule, "\(text)")
      #expect(try Schedule(parsing: schedule.name) == schedule, "\(schedule.name)")
    }
  }

  @Test(arguments: ["", "linear", "constant:1", "cosine:2", "one-cycle:1", "step:1:2:3", "Step"])
  func unknownNamesListTheKnown(_ text: String) throws {
    let error = try #require(throws: TrainingError.self) { try Schedule(parsing: text) }
    #expect(error.description.contains("'\(text)'"))
    for name in Schedule.knownNames { #expect(error.description.contains(name)) }
  }

  @Test(arguments: [
    "step:0", "step:-1", "step:", "step:x", "step:1.5", "step:1:0", "step:1:-0.1", "step:1:nan", "step:1:inf",
    "step:9223372036854775807", "cyclic:0", "cyclic:10:0", "cyclic:10:1.5", "cyclic:10:nan", "cyclic::0.5",
    "cyclic:9223372036854775807", "step:99999999999999999999",
  ])
  func numbersOutOfRangeAreErrors(_ text: String) throws {
    let error = try #require(throws: TrainingError.self) { try Schedule(parsing: text) }
    #expect(error.description.contains("'\(text)'"))
  }
}
