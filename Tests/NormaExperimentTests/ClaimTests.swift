import NormaData
import NormaNN
import NormaRecords
import NormaTensor
import Testing

@testable import NormaExperiment

@Suite struct ClaimTestTests {
  private let a = Claim.Place(arm: "a", condition: "1")
  private let b = Claim.Place(arm: "b", condition: "1")

  private func answer(_ test: Claim.Test, _ values: [[Double]]) -> ClaimTestRecord {
    test.answer([a: values[0], b: values[1]])
  }

  @Test func greater() {
    let test = Claim.Test(kind: .greater(a, b), margin: 0.1)
    let base = [0.50, 0.52, 0.49, 0.51, 0.50]
    func shifted(_ by: Double, noise: Double = 0.01) -> [Double] {
      base.enumerated().map { $1 + by + ($0 % 2 == 0 ? noise : -noise) }
    }
    #expect(answer(test, [shifted(0.3), base]).answer == .held)
    #expect(answer(test, [shifted(-0.3), base]).answer == .didNotHold)
    #expect(answer(test, [shifted(0.02), base]).answer == .didNotHold, "real but too small to matter")
    #expect(answer(test, [shifted(0.1, noise: 0.4), base]).answer == .undecided)
    let found = answer(test, [shifted(0.3), base])
    #expect(found.question == "a − b at 1 > 0")
    #expect(abs(found.difference.mean - 0.302) < 1e-12)
    // t(0.975, 4) = 2.776445 times the deviation 0.0109545 over √5.
    #expect(abs(found.difference.halfWidth! - 2.7764451 * 0.0109544512 / 5.0.squareRoot()) < 1e-8)
  }

  @Test func notWorse() {
    let test = Claim.Test(kind: .notWorse(a, b), margin: 0.1)
    let base = [0.5, 0.52, 0.48, 0.51, 0.49]
    func shifted(_ by: Double) -> [Double] { base.enumerated().map { $1 + by + ($0 % 2 == 0 ? 0.01 : -0.01) } }
    #expect(answer(test, [shifted(-0.05), base]).answer == .held)
    #expect(answer(test, [shifted(0.5), base]).answer == .held)
    #expect(answer(test, [shifted(-0.3), base]).answer == .didNotHold)
    #expect(answer(test, [shifted(-0.1), base]).answer == .undecided)
  }

  @Test func differ() {
    let places = (1...3).map { Claim.Place(arm: "group", condition: "\($0)") }
    let test = Claim.Test(kind: .differ(places), margin: 0.05)
    func answer(_ values: [[Double]]) -> ClaimRecord.Answer {
      test.answer(Dictionary(uniqueKeysWithValues: zip(places, values))).answer
    }
    let base = [0.500, 0.501, 0.499, 0.502, 0.498]
    #expect(answer([base, base.map { $0 + 0.2 }.reversed(), base]) == .held)
    #expect(answer([base, base.reversed(), base.map { $0 + 0.001 }]) == .didNotHold)
    #expect(answer([base, [0.2, 0.9, 0.3, 0.8, 0.5], base]) == .undecided)
  }

  @Test func allTestsOfAClaimMustHold() {
    #expect(ClaimRecord.Answer(all: [.held, .held]) == .held)
    #expect(ClaimRecord.Answer(all: [.held, .undecided]) == .undecided)
    #expect(ClaimRecord.Answer(all: [.undecided, .didNotHold]) == .didNotHold)
  }
}

@Suite struct ClaimTrialTests {
  @Test func gratingsCanBeLearnedAndSeedsDecide() throws {
    Runtime.threads = 1
    var trial = ClaimTrial()
    trial.steps = 120
    let first = try trial.run(.gratings, seed: 3)
    #expect(first.accuracy > 0.6, "four classes: guessing gives a quarter")
    #expect(first.losses.count == 120)
    #expect(first.steps(to: 1.0).isFinite)
    #expect(first.steps(to: -1) == .infinity)
    let again = try trial.run(.gratings, seed: 3)
    #expect(again.losses == first.losses && again.accuracies == first.accuracies)
    #expect(try trial.run(.gratings, seed: 4).losses != first.losses)
  }

  @Test func aDivergedTrialHasAResult() throws {
    var trial = ClaimTrial()
    (trial.norm, trial.steps, trial.learningRate) = (.none, 20, 1e20)
    let outcome = try trial.run(.gratings, seed: 0)
    #expect(outcome.losses.count == 20)
    #expect(outcome.losses.last == .infinity)
    #expect(outcome.accuracy < 0.5)
  }

  @Test func armsOfASeedSeeTheSamePicturesAndStartAlike() throws {
    var trial = ClaimTrial()
    let a = try ClaimNetwork(trial, data: .gratings, generator: Generator(seed: 1))
    trial.norm = .none
    let b = try ClaimNetwork(trial, data: .gratings, generator: Generator(seed: 1))
    let (states, plain) = (Dictionary(uniqueKeysWithValues: a.stateDictionary()), b.stateDictionary())
    #expect(plain.count < states.count)
    for (key, value) in plain {
      #expect(try states[key]!.array(of: Float.self) == value.array(of: Float.self), "\(key)")
    }
    #expect(trial.picturesSeed(1, 2) != trial.picturesSeed(1, 3))
    #expect(trial.picturesSeed(1, 2) != trial.picturesSeed(2, 2))
  }

  /// Every class of the data must come as often, and no trivial number may give it away.
  @Test func gratingsHaveNoGiveaway() throws {
    let batch = try ClaimData.gratings.batch(2000, seed: 1)
    let labels: [Int64] = try batch.labels.array()
    let means: [Float] = try batch.images.mean([1, 2, 3]).array()
    let variances: [Float] = try batch.images.variance([1, 2, 3]).array()
    for label in 0..<4 as Range<Int64> {
      let members = labels.indices.filter { labels[$0] == label }
      #expect((420...580).contains(members.count))
      let mean = members.map { means[$0] }.reduce(0, +) / Float(members.count)
      let variance = members.map { variances[$0] }.reduce(0, +) / Float(members.count)
      #expect(abs(mean) < 0.06)
      #expect(abs(variance - 0.75) < 0.06, "0.49 of noise and half the mean squared contrast, 0.26")
    }
  }
}

@Suite struct ClaimsListTests {
  @Test func namesAreUniqueAndTestsHaveMeasurements() throws {
    #expect(Set(Claim.all.map(\.name)).count == Claim.all.count)
    for claim in Claim.all { #expect(!claim.tests.isEmpty) }
  }
}
