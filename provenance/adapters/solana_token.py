"""The reward token: a mint of the classic SPL Token program, associated accounts, balances."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import CreateAccountParams, create_account
from spl.token.constants import ACCOUNT_LEN, MINT_LEN, TOKEN_PROGRAM_ID
from spl.token.instructions import (
    create_idempotent_associated_token_account,
    get_associated_token_address,
    initialize_mint2,
    mint_to_checked,
)
from spl.token.models import InitializeMint2Params, MintToCheckedParams

from provenance.adapters.solana_rpc import AccountState, SolanaRpc
from provenance.adapters.solana_sender import Confirmed, Intent, Sender
from provenance.errors import InsufficientFunds, PayoutError
from provenance.outbox import InMemoryOutbox
from provenance.payout import ACCOUNT_BATCH
from provenance.tariff import TOKEN_DECIMALS

FEE_LAMPORTS_PER_SIGNATURE = 5_000
_ACCOUNT_COMPUTE_UNITS = 40_000
_TOKEN_PROGRAM = str(TOKEN_PROGRAM_ID)


@dataclass(frozen=True, slots=True)
class MintState:
    """What a mint account says: supply in base units, decimals, and who may mint more (base58, None for nobody)."""

    supply: int
    decimals: int
    authority: str | None


def associated_account(wallet: str, mint: str) -> str:
    """Return the address of ``wallet``'s associated token account for ``mint``; all base58.

    Raises:
        ValueError: not an address.
    """
    return str(get_associated_token_address(Pubkey.from_string(wallet), Pubkey.from_string(mint)))


async def mint_state(rpc: SolanaRpc, mint: str) -> MintState | None:
    """Return the state of ``mint``, None when there is no such account.

    Raises:
        PayoutError: the account is not an initialised mint of the SPL Token program.
    """
    account = (await rpc.accounts([mint]))[0]
    if account is None:
        return None
    data = account.data
    if account.owner != _TOKEN_PROGRAM or len(data) != MINT_LEN or data[45] != 1:
        raise PayoutError(f"{mint} is not a mint of the SPL Token program; use the token's mint address")
    authority = str(Pubkey(data[4:36])) if data[:4] == b"\x01\0\0\0" else None
    return MintState(int.from_bytes(data[36:44], "little"), data[44], authority)


async def ensure_mint(sender: Sender, payer: Keypair, mint: Keypair, supply: int) -> str:
    """Create the token once: mint with 6 decimals, the payer's account, the supply in it. One transaction.

    Args:
        sender: brings it onto the chain.
        payer: pays, and becomes the mint authority.
        mint: key pair of the mint address; store it before the first call.
        supply: base units to mint.

    Returns:
        The mint's address.

    Raises:
        PayoutError: the address holds something else, or another authority's mint.
        InsufficientFunds: the payer's SOL does not cover rent and fees.
        ChainError: as `Sender.send_once`.
    """
    rpc, address, owner = sender.rpc, mint.pubkey(), payer.pubkey()
    state = await mint_state(rpc, str(address))
    if state is not None:
        if state.decimals != TOKEN_DECIMALS or state.authority != str(owner):
            raise PayoutError(f"mint {address} exists with {state.decimals} decimals and authority {state.authority}")
        return str(address)
    rent = await rpc.rent_minimum(MINT_LEN)
    await require_lamports(rpc, str(owner), rent + await rpc.rent_minimum(ACCOUNT_LEN) + 2 * FEE_LAMPORTS_PER_SIGNATURE)
    instructions = [
        create_account(
            CreateAccountParams(
                from_pubkey=owner, to_pubkey=address, lamports=rent, space=MINT_LEN, owner=TOKEN_PROGRAM_ID
            )
        ),
        initialize_mint2(
            InitializeMint2Params(
                decimals=TOKEN_DECIMALS, program_id=TOKEN_PROGRAM_ID, mint=address, mint_authority=owner
            )
        ),
        create_idempotent_associated_token_account(owner, owner, address),
        _mint_to(address, owner, supply),
    ]
    digest = hashlib.sha256(f"{address} {owner} {supply}".encode()).digest()
    await sender.send_once(Intent(f"mint/{address}/create", digest, instructions, [payer, mint]))
    return str(address)


async def mint_more(sender: Sender, payer: Keypair, mint: str, amount: int, number: int) -> Confirmed:
    """Mint ``amount`` base units to the payer's account, once for each ``number``.

    Raises:
        IntentConflict: ``number`` was used for another amount.
        ChainError: as `Sender.send_once`.
    """
    digest = hashlib.sha256(f"{mint} {amount} {number}".encode()).digest()
    instruction = _mint_to(Pubkey.from_string(mint), payer.pubkey(), amount)
    return await sender.send_once(Intent(f"mint/{mint}/{number}", digest, [instruction], [payer]))


def _mint_to(mint: Pubkey, owner: Pubkey, amount: int) -> Instruction:
    return mint_to_checked(
        MintToCheckedParams(
            program_id=TOKEN_PROGRAM_ID,
            mint=mint,
            dest=get_associated_token_address(owner, mint),
            mint_authority=owner,
            amount=amount,
            decimals=TOKEN_DECIMALS,
        )
    )


async def token_balances(rpc: SolanaRpc, mint: str, wallets: Iterable[str]) -> dict[str, int | None]:
    """Return what each wallet's associated account holds, in base units; None when there is no such account."""
    names = list(wallets)
    states = await rpc.accounts([associated_account(wallet, mint) for wallet in names])
    return {wallet: _amount(state, mint) for wallet, state in zip(names, states, strict=True)}


async def token_balance(rpc: SolanaRpc, mint: str, wallet: str) -> int:
    """Return what one wallet's associated account holds, 0 when there is none."""
    return (await token_balances(rpc, mint, [wallet]))[wallet] or 0


def _amount(state: AccountState | None, mint: str) -> int | None:
    # Whoever owns the associated account by now, its address follows from the wallet: tokens for the wallet go there.
    if state is None or state.owner != _TOKEN_PROGRAM or len(state.data) != ACCOUNT_LEN:
        return None
    return int.from_bytes(state.data[64:72], "little") if str(Pubkey(state.data[:32])) == mint else None


async def missing_accounts(rpc: SolanaRpc, mint: str, wallets: Iterable[str]) -> list[str]:
    """Return the wallets that have no associated account for ``mint``."""
    return [wallet for wallet, held in (await token_balances(rpc, mint, wallets)).items() if held is None]


async def creation_cost(rpc: SolanaRpc, accounts: int) -> int:
    """Return the lamports that creating this many associated accounts takes, fees included."""
    transactions = -(-accounts // ACCOUNT_BATCH)
    return await rpc.rent_minimum(ACCOUNT_LEN) * accounts + FEE_LAMPORTS_PER_SIGNATURE * transactions


async def ensure_accounts(sender: Sender, payer: Keypair, mint: str, wallets: Iterable[str]) -> int:
    """Create the associated account of each wallet that has none; return how many were created.

    Creation is idempotent on the chain, so these transactions need no durable outbox.

    Raises:
        InsufficientFunds: the payer's SOL does not cover their rent.
        ChainError: as `Sender.send_once`.
    """
    missing = await missing_accounts(sender.rpc, mint, wallets)
    if not missing:
        return 0
    await require_lamports(sender.rpc, str(payer.pubkey()), await creation_cost(sender.rpc, len(missing)))
    intents: list[Intent] = []
    for start in range(0, len(missing), ACCOUNT_BATCH):
        part = missing[start : start + ACCOUNT_BATCH]
        instructions = [
            create_idempotent_associated_token_account(
                payer.pubkey(), Pubkey.from_string(wallet), Pubkey.from_string(mint)
            )
            for wallet in part
        ]
        digest = hashlib.sha256(" ".join(part).encode()).digest()
        units = _ACCOUNT_COMPUTE_UNITS * len(part)
        intents.append(Intent(f"accounts/{start}", digest, instructions, [payer], units))
    await sender.with_outbox(InMemoryOutbox()).send_all(intents)
    return len(missing)


async def require_lamports(rpc: SolanaRpc, wallet: str, needed: int) -> None:
    """Check that ``wallet`` can pay ``needed`` lamports and stay above its own rent minimum.

    Raises:
        InsufficientFunds: it cannot.
    """
    held = await rpc.balance(wallet)
    floor = needed + await rpc.rent_minimum(0)
    if held < floor:
        raise InsufficientFunds(
            f"wallet {wallet} holds {held} lamports and needs {floor}; send it at least {floor - held} more, "
            "nothing was sent"
        )
